//! Events, batches, credits, supervision, router and the component traits of Veltrix.
