//! What a receiver of spans is asked for: OTLP's `ExportTraceServiceRequest`. Its spans are written already; in protobuf, a message
//! within another is its bytes behind their length.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use prost::bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::waiting::Batch;

/// Its path.
pub(super) const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// `resource_spans` in the request; `resource` and `scope_spans` in `ResourceSpans`; `scope` in `ScopeSpans`.
const RESOURCE_SPANS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SCOPE: u32 = 1;

/// Who sends spans, as it stands before them in each request.
#[derive(Debug)]
pub(super) struct Sender {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Sender {
    pub fn new(resource: &Resource, scope: &str) -> Self {
        let scope = InstrumentationScope { name: scope.to_owned(), ..InstrumentationScope::default() };
        let field = |number, bytes: Vec<u8>| {
            let mut field = Vec::new();
            begin(number, bytes.len(), &mut field);
            field.extend(bytes);
            field
        };
        Self { resource: field(RESOURCE, resource.encode_to_vec()), scope: field(SCOPE, scope.encode_to_vec()) }
    }

    /// A request that brings these.
    pub fn request(&self, Batch { bytes: spans, .. }: Batch) -> Export {
        let of_scope = self.scope.len() + spans.len();
        let of_resource = self.resource.len() + 1 + encoded_len_varint(of_scope as u64) + of_scope;
        let mut head = Vec::with_capacity(self.resource.len() + self.scope.len() + 16);
        begin(RESOURCE_SPANS, of_resource, &mut head);
        head.extend_from_slice(&self.resource);
        begin(SCOPE_SPANS, of_scope, &mut head);
        head.extend_from_slice(&self.scope);
        Export { head, spans }
    }
}

fn begin(field: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// The bytes of a request.
#[derive(Debug)]
pub(super) struct Export {
    head: Vec<u8>,
    spans: Vec<u8>,
}

/// Sends the bytes as they are.
#[derive(Debug)]
pub(super) struct Written;

impl Codec for Written {
    type Encode = Export;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = ProstDecoder<ExportTraceServiceResponse>;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<ExportTraceServiceResponse, _>::default().decoder()
    }
}

impl Encoder for Written {
    type Item = Export;
    type Error = Status;

    fn encode(&mut self, Export { head, spans }: Export, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(head.len() + spans.len());
        out.put_slice(&head);
        out.put_slice(&spans);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;
    use crate::telemetry::waiting::Waiting;

    #[test]
    fn a_request_is_what_otlp_says_it_is() {
        let attributes = vec![KeyValue { key: "who".repeat(100), ..KeyValue::default() }];
        let resource = Resource { attributes, ..Resource::default() };
        let waiting = Waiting::new(10);
        let spans: Vec<_> =
            ["a", "b"].map(|name| Span { name: name.repeat(300), ..Span::default() }).into_iter().collect();
        spans.iter().for_each(|span| waiting.put(&span.encode_to_vec()));
        let batch = waiting.take().expect("they wait");
        let Export { head, spans: bytes } = Sender::new(&resource, "fleet").request(batch);
        let request = ExportTraceServiceRequest::decode(&*[head, bytes].concat()).expect("it is one");
        let [of_resource] = &request.resource_spans[..] else { panic!("{request:?}") };
        assert_eq!(of_resource.resource.as_ref(), Some(&resource));
        let [of_scope] = &of_resource.scope_spans[..] else { panic!("{request:?}") };
        assert_eq!(of_scope.scope.as_ref().map(|scope| &*scope.name), Some("fleet"));
        assert_eq!(of_scope.spans, spans);
    }
}
