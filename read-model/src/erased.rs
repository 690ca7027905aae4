//! Projections of different types in one list.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use events::{DecodeError, EventSet, Payload, Recorded, Topic};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::{Error, Projection};

/// A [`Projection`] whose type has been forgotten.
pub trait AnyProjection: Send + Sync + fmt::Debug {
    /// [`Projection::NAME`]
    fn name(&self) -> &'static str;
    /// [`Projection::VERSION`]
    fn version(&self) -> u32;
    /// [`Projection::TABLES`]
    fn tables(&self) -> &'static str;
    /// [`Projection::INDEXES`]
    fn indexes(&self) -> &'static str;
    /// Where its events come from.
    fn topics(&self) -> &'static [&'static Topic];
    /// Whether the event is in its set.
    ///
    /// # Errors
    /// The event is poison.
    fn decodes(&self, event: &Payload) -> Result<bool, DecodeError>;
    /// A fold that has seen nothing yet.
    fn begin(&self) -> Box<dyn Pending>;
}

/// A fold under way: changes that are not written yet.
pub trait Pending: Send {
    /// Decodes one event and folds it.
    ///
    /// # Errors
    /// The event is poison; the changes are as before.
    fn fold(&mut self, event: &Recorded<Payload>) -> Result<Folded, DecodeError>;

    /// [`Projection::write`]
    ///
    /// # Errors
    /// The statement failed; nothing of it is kept.
    fn write<'a>(self: Box<Self>, db: &'a mut PgConnection) -> BoxFuture<'a, Result<(), Error>>;
}

/// What became of an event in a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    /// It is in the changes.
    Applied,
    /// The projection does not know the type.
    Skipped,
}

/// `P` without its type.
pub(crate) struct Erased<P>(PhantomData<fn() -> P>);

impl<P> Erased<P> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

impl<P> fmt::Debug for Erased<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<P>())
    }
}

impl<P: Projection> AnyProjection for Erased<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> u32 {
        P::VERSION
    }

    fn tables(&self) -> &'static str {
        P::TABLES
    }

    fn indexes(&self) -> &'static str {
        P::INDEXES
    }

    fn topics(&self) -> &'static [&'static Topic] {
        <P::Event as EventSet>::TOPICS
    }

    fn decodes(&self, event: &Payload) -> Result<bool, DecodeError> {
        Ok(P::Event::decode(event)?.is_some())
    }

    fn begin(&self) -> Box<dyn Pending> {
        Box::new(Changes::<P>(P::Changes::default()))
    }
}

struct Changes<P: Projection>(P::Changes);

impl<P: Projection> Pending for Changes<P> {
    fn fold(&mut self, event: &Recorded<Payload>) -> Result<Folded, DecodeError> {
        match event.decode::<P::Event>()? {
            Some(event) => {
                P::fold(&mut self.0, &event);
                Ok(Folded::Applied)
            }
            None => Ok(Folded::Skipped),
        }
    }

    fn write<'a>(self: Box<Self>, db: &'a mut PgConnection) -> BoxFuture<'a, Result<(), Error>> {
        P::write(self.0, db).boxed()
    }
}
