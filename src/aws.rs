//! AWS: access to its services, and their errors.

#[cfg(feature = "aws")]
mod access;
mod error;

#[cfg(feature = "aws")]
pub use self::access::Access;
pub use self::error::AwsError;
#[cfg(feature = "aws")]
pub use self::error::map_sdk_error;
