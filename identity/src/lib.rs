//! Who asks, and what they may do.
//!
//! A [`Gate`] stands before each door of the fleet: the admin API, the gRPC of the event store, and the pushes of Pub/Sub. It
//! knows the [`Way`]s in which a caller may show who it is, and which [`Role`]s each [`Identity`] has. The other half is
//! [`Credentials`]: what the fleet's own programs show at the doors of others.
//!
//! Nothing here writes a token to a log, an error or a metric.

mod channel;
mod credentials;
mod gate;
mod keys;
mod members;
mod tokens;
mod verifier;

pub use channel::Channel;
pub use credentials::{Credentials, Unpresentable};
pub use gate::{Caller, Gate, Refusal, Way};
pub use keys::Keys;
pub use members::{Members, Role, Roles};
pub use tokens::{Minted, Tokens};
pub use verifier::{GOOGLE_KEYS, IAP_KEYS, Identity, Verifier};
