//! What the metrics tell of sites, and of being one: read when they are asked for, so that nothing is counted twice.

use std::fmt;
use std::sync::Arc;

use http_oci::{ByUrl, Site};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads the metrics of sites, and of what is answered for signed addresses.
#[derive(Debug)]
pub(crate) struct EdgeMetrics {
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) by_url: Arc<ByUrl>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SiteLabels {
    site: String,
}

impl EdgeMetrics {
    fn sites(&self) -> impl Iterator<Item = (SiteLabels, &Site)> {
        self.sites.iter().map(|site| (SiteLabels { site: site.url().to_string() }, &**site))
    }
}

impl Collector for EdgeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let about = "Blobs that clients were sent to a site for";
        let mut family = encoder.encode_descriptor("edge_redirects", about, None, MetricType::Counter)?;
        for (labels, site) in self.sites() {
            ConstCounter::new(site.redirects()).encode(family.encode_family(&labels)?)?;
        }
        let about =
            "Whether clients are sent to a site: 0 while it does not work, or has not shown that it does";
        let mut family = encoder.encode_descriptor("edge_site_available", about, None, MetricType::Gauge)?;
        for (labels, site) in self.sites() {
            ConstGauge::new(u64::from(site.is_available())).encode(family.encode_family(&labels)?)?;
        }
        let (served, refused) = self.by_url.counts();
        for (name, about, value) in [
            ("edge_served", "Requests by signed addresses that were answered", served),
            ("edge_refused", "Requests by signed addresses that were refused, or failed", refused),
        ] {
            let encoder = encoder.encode_descriptor(name, about, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(encoder)?;
        }
        Ok(())
    }
}
