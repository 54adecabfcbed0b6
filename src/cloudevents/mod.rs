//! CloudEvents 1.0 between their JSON format, in which Veltrix holds them, and HTTP messages.

pub(crate) mod compact;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod media_type;
pub(crate) mod percent;
