//! gRPC as others speak it: older reflection, gzip, calls that are given up.

use std::time::Duration;

use event_store::proto::event_store_client::EventStoreClient;
use event_store::proto::{AppendEventsRequest, GetHeadRequest, ReadAllRequest};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::codec::CompressionEncoding::Gzip;
use tonic_reflection::pb::{v1, v1alpha};
use uuid::Uuid;

use crate::harness::Fleet;
use crate::harness::client::{append, connect, email_updated, signed_up};

#[tokio::test]
async fn reflection_answers_in_both_of_its_versions() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let channel = fleet::client::endpoint(&store.grpc()).unwrap().connect().await.unwrap();

    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut newest = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answer = newest.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner().next().await;
    let newest = format!("{:?}", answer.unwrap().unwrap());

    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answer = older.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner().next().await;
    let older = format!("{:?}", answer.unwrap().unwrap());
    for answer in [newest, older] {
        assert!(answer.contains("fleet.eventstore.v1.EventStore"), "{answer}");
    }
}

#[tokio::test]
async fn gzip_is_taken_and_given_and_a_bomb_is_not_unpacked() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let channel = fleet::client::endpoint(&store.grpc()).unwrap().connect().await.unwrap();
    let mut client = EventStoreClient::new(channel).send_compressed(Gzip).accept_compressed(Gzip);
    let user = Uuid::now_v7();
    client.append_events(append("User", user, vec![signed_up(user)])).await.unwrap();
    let answer = client.read_all(ReadAllRequest::default()).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").map(|encoding| encoding.as_bytes()), Some(b"gzip".as_slice()));
    let mut events = answer.into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().aggregate_id, user.to_string());

    // 200 MB of the same are 200 kB on the way.
    let bomb = AppendEventsRequest { aggregate_id: "0".repeat(200_000_000), ..append("User", user, Vec::new()) };
    let before = store.resident_kilobytes();
    let status = client.clone().max_encoding_message_size(usize::MAX).append_events(bomb).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status}");
    let grown = store.resident_kilobytes().saturating_sub(before);
    assert!(grown < 150_000, "{grown} kB more");
    client.get_head(GetHeadRequest {}).await.unwrap();
}

/// HTTP/2 by hand, so that every call and its end are there before the server looks at any.
#[tokio::test]
async fn calls_that_are_cancelled_at_once_do_not_close_the_connection_of_their_neighbours() {
    let fleet = Fleet::new().await;
    let store = fleet.event_store().await;
    let mut connection = TcpStream::connect(store.grpc()).await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, 4, 0, 0, &[]);
    // Indexed :method POST and :scheme http, then :path, content-type and te as they are.
    let mut headers = vec![0x83, 0x86];
    literal(&mut headers, &[0x04], "/fleet.eventstore.v1.EventStore/GetHead");
    literal(&mut headers, &[0x0f, 0x10], "application/grpc");
    literal(&mut headers, &[0x00, 0x02, b't', b'e'], "trailers");
    for call in 0..500 {
        frame(&mut bytes, 1, 4, 2 * call + 1, &headers);
        frame(&mut bytes, 3, 0, 2 * call + 1, &8_u32.to_be_bytes());
    }
    frame(&mut bytes, 6, 0, 0, b"neighbor");
    connection.write_all(&bytes).await.unwrap();

    let mut pings = 0;
    while pings == 0 {
        let mut head = [0; 9];
        let read = tokio::time::timeout(Duration::from_secs(30), connection.read_exact(&mut head)).await;
        read.expect("it answers").expect("the connection is open");
        let mut body = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        connection.read_exact(&mut body).await.unwrap();
        assert_ne!(head[3], 7, "GOAWAY: {}", String::from_utf8_lossy(&body));
        pings += usize::from(head[3] == 6 && head[4] == 1);
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(body);
}

fn literal(headers: &mut Vec<u8>, name: &[u8], value: &str) {
    headers.extend_from_slice(name);
    headers.push(u8::try_from(value.len()).unwrap());
    headers.extend_from_slice(value.as_bytes());
}

#[tokio::test]
async fn an_append_stream_that_its_client_keeps_open_ends_with_the_event_store() {
    let fleet = Fleet::new().await;
    let mut store = fleet.event_store().await;
    let (requests, open) = tokio::sync::mpsc::channel(1);
    let user = Uuid::now_v7();
    requests.send(append("User", user, vec![email_updated(user, "a@example.org")])).await.unwrap();
    let mut client = connect(&store).await;
    let mut answers = client.append_event_stream(ReceiverStream::new(open)).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());

    store.terminate();
    let status = store.ended(Duration::from_secs(12)).await;
    assert!(status.success(), "{status}: {:?}", store.logged());
    assert!(!store.logged().iter().any(|line| line.contains("did not end in time")), "{:?}", store.logged());
    drop(requests);
}
