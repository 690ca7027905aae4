//! The two gRPC services of Pub/Sub, as far as the fleet calls them.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use bus::{Delivery, Message, Publisher, Receipt, Subscription, limits};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Broker;
use super::protocol::{
    AcknowledgeRequest, ModifyAckDeadlineRequest, PublishRequest, PublishResponse, PubsubMessage, ReceivedMessage,
    StreamingPullRequest, StreamingPullResponse,
};

/// Messages of one answer, as the real service has them.
const ANSWER: usize = 100;

/// How long a stream that was closed properly has for its last acks.
const LAST_ACKS: Duration = Duration::from_secs(10);

pub fn of(broker: &Broker) -> (PublisherService, SubscriberService) {
    (PublisherService(broker.clone()), SubscriberService(broker.clone()))
}

#[derive(Clone)]
pub struct PublisherService(Broker);

#[derive(Clone)]
pub struct SubscriberService(Broker);

impl NamedService for PublisherService {
    const NAME: &'static str = "google.pubsub.v1.Publisher";
}

impl NamedService for SubscriberService {
    const NAME: &'static str = "google.pubsub.v1.Subscriber";
}

type Answer = Result<http::Response<Body>, Infallible>;

impl Service<http::Request<Body>> for PublisherService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let publish = Call(self.0.clone());
        async move { Ok(grpc::<PublishRequest, _>().unary(publish, request).await) }.boxed()
    }
}

impl Service<http::Request<Body>> for SubscriberService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = Call(self.0.clone());
        async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default();
            Ok(match method {
                "StreamingPull" => grpc::<StreamingPullRequest, _>().streaming(call, request).await,
                "Acknowledge" => grpc::<AcknowledgeRequest, _>().unary(call, request).await,
                "ModifyAckDeadline" => grpc::<ModifyAckDeadlineRequest, _>().unary(call, request).await,
                other => Status::unimplemented(format!("this broker has no {other}")).into_http(),
            })
        }
        .boxed()
    }
}

fn grpc<Asked, Answered>() -> Grpc<ProstCodec<Answered, Asked>>
where
    Asked: prost::Message + Default + Send + 'static,
    Answered: prost::Message + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(32 << 20).max_encoding_message_size(32 << 20)
}

/// One call of whichever method.
struct Call(Broker);

impl UnaryService<PublishRequest> for Call {
    type Response = PublishResponse;
    type Future = BoxFuture<'static, Result<Response<PublishResponse>, Status>>;

    fn call(&mut self, request: Request<PublishRequest>) -> Self::Future {
        let (bus, refused) = (self.0.bus.clone(), *self.0.refused.lock().unwrap());
        let (pause, away) = (*self.0.pause.lock().unwrap(), *self.0.away.lock().unwrap());
        async move {
            tokio::time::sleep(pause).await;
            if let Some(code) = away {
                return Err(Status::new(code, "this broker is away"));
            }
            let PublishRequest { topic, messages } = request.into_inner();
            let publisher = bus.publisher(last(&topic));
            let count = messages.len();
            let page: Vec<_> = messages
                .into_iter()
                .map(|message| Message { data: message.data, attributes: message.attributes.into_iter().collect() })
                .collect();
            limits::request(&page).map_err(|refused| Status::invalid_argument(refused.to_string()))?;
            let refuses = |text: &str| page.iter().any(|message| holds(&message.data, text));
            if refused.is_some_and(refuses) {
                return Err(Status::invalid_argument("a message is not as this broker wants it"));
            }
            publisher.publish(page).await.map_err(|error| Status::not_found(error.to_string()))?;
            Ok(Response::new(PublishResponse { message_ids: (0..count).map(|id| id.to_string()).collect() }))
        }
        .boxed()
    }
}

fn holds(data: &[u8], text: &str) -> bool {
    data.windows(text.len()).any(|part| part == text.as_bytes())
}

impl UnaryService<AcknowledgeRequest> for Call {
    type Response = ();
    type Future = BoxFuture<'static, Result<Response<()>, Status>>;

    fn call(&mut self, request: Request<AcknowledgeRequest>) -> Self::Future {
        self.0.settle(&request.into_inner().ack_ids, Receipt::ack);
        async { Ok(Response::new(())) }.boxed()
    }
}

impl UnaryService<ModifyAckDeadlineRequest> for Call {
    type Response = ();
    type Future = BoxFuture<'static, Result<Response<()>, Status>>;

    /// A deadline of 0 is a nack; any other extends a lease that lasts as long as its stream anyway.
    fn call(&mut self, request: Request<ModifyAckDeadlineRequest>) -> Self::Future {
        let request = request.into_inner();
        if request.ack_deadline_seconds == 0 {
            self.0.settle(&request.ack_ids, Receipt::nack);
        }
        async { Ok(Response::new(())) }.boxed()
    }
}

impl StreamingService<StreamingPullRequest> for Call {
    type Response = StreamingPullResponse;
    type ResponseStream = BoxStream<'static, Result<StreamingPullResponse, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<StreamingPullRequest>>) -> Self::Future {
        let broker = self.0.clone();
        async move {
            let mut asked = request.into_inner();
            let first = asked.message().await?.ok_or_else(|| Status::invalid_argument("it asks for nothing"))?;
            let stream = broker.stream();
            let chaos = bus::Chaos { seed: broker.chaos.seed.wrapping_add(stream), ..broker.chaos.clone() };
            let outstanding = u32::try_from(first.max_outstanding_messages).unwrap_or(0).clamp(1, 100_000);
            let queue = broker.bus.subscription(last(&first.subscription)).with_max_outstanding(outstanding);
            let subscription = chaos.subscription(queue);
            let stop = CancellationToken::new();
            let (sender, deliveries) = mpsc::channel(ANSWER);
            tokio::spawn({
                let stop = stop.clone();
                async move { subscription.receive(sender, stop).await }
            });
            tokio::spawn({
                let broker = broker.clone();
                async move {
                    let dead = loop {
                        match asked.message().await {
                            Ok(Some(_)) => {}
                            Ok(None) => break false,
                            Err(_) => break true,
                        }
                    };
                    stop.cancel();
                    if !dead {
                        tokio::time::sleep(LAST_ACKS).await;
                    }
                    broker.end_stream(stream);
                }
            });
            let numbered = ReceiverStream::new(deliveries).enumerate();
            let received = move |(number, delivery)| received(&broker, format!("{stream}-{number}"), delivery);
            let answers = numbered.map(received).ready_chunks(ANSWER);
            let answers = answers.map(|received_messages| Ok(StreamingPullResponse { received_messages }));
            Ok(Response::new(answers.boxed()))
        }
        .boxed()
    }
}

fn received(broker: &Broker, ack_id: String, delivery: Delivery) -> ReceivedMessage {
    let Delivery { message, message_id, published_at, attempt, receipt } = delivery;
    broker.lend(ack_id.clone(), receipt);
    ReceivedMessage {
        ack_id,
        message: Some(PubsubMessage {
            data: message.data,
            attributes: message.attributes.into_iter().collect(),
            message_id,
            publish_time: published_at.map(event_store::service::timestamp),
        }),
        delivery_attempt: attempt.and_then(|attempt| attempt.try_into().ok()).unwrap_or_default(),
    }
}

/// `progress-events` of `projects/p/topics/progress-events`.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
