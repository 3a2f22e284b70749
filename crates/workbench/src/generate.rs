//! A made-up shop: its events, and the objects that Stripe's API would have for it.

mod buyer;
mod delivery;
mod event;
mod life;
mod market;
mod objects;
mod product;
mod purchase;
mod seed;
mod shop;
mod summary;

pub use self::delivery::{Tally, deliver, put_objects};
pub use self::event::{Event, Templates};
pub use self::shop::{Shop, Size, Subscriber};
pub use self::summary::Summary;
