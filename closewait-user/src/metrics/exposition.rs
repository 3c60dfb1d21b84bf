//! A sample as OpenMetrics text, by the encoder of `prometheus-client`, which quotes label
//! values.

use std::fmt::{Error, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::families::{Family, Kind, PREFIX};
use super::histogram::Buckets;
use super::sample::{Sample, Value};

/// Its `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes `sample` down.
///
/// # Errors
/// The encoder has none of its own, and a string takes everything.
pub fn text(sample: Sample) -> Result<String, Error> {
    let ages = sample.families.iter().find(|(family, _)| family.kind == Kind::GaugeHistogram);
    let mut tail = String::new();
    if let Some((family, series)) = ages {
        for (_, value) in series {
            if let Value::Buckets(buckets) = value {
                gauge_histogram(&mut tail, family, buckets)?;
            }
        }
    }
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(sample));
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    text.push_str(&tail);
    encode_eof(&mut text)?;
    Ok(text)
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        for (family, series) in &self.families {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
                // Which the encoder does not know.
                Kind::GaugeHistogram => continue,
            };
            let unit = family.encoder_unit();
            let mut metric = encoder.encode_descriptor(family.name, family.help, unit.as_ref(), kind)?;
            for (values, value) in series {
                let labels: Vec<_> =
                    family.labels.iter().copied().zip(values.iter().map(AsRef::<str>::as_ref)).collect();
                let labels = labels.as_slice();
                match (family.kind, value) {
                    (Kind::Info, _) => metric.encode_info(&labels)?,
                    (Kind::Counter, Value::Count(count)) => {
                        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
                    }
                    (Kind::Counter, Value::Float(value)) => {
                        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                    }
                    (_, Value::Count(count)) => metric.encode_family(&labels)?.encode_gauge(count)?,
                    (_, Value::Float(value)) => metric.encode_family(&labels)?.encode_gauge(value)?,
                    (_, Value::Buckets(buckets)) => {
                        let Buckets { sum, counts } = buckets;
                        metric.encode_histogram::<NoLabelSet>(*sum, buckets.total(), counts, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// OpenMetrics' type for a histogram of what there is now. Its only label is a bound, so
/// there is nothing to quote.
fn gauge_histogram(out: &mut String, family: &Family, buckets: &Buckets) -> Result<(), Error> {
    let name = family.full_name();
    writeln!(out, "# HELP {name} {}\n# TYPE {name} gaugehistogram", family.help)?;
    if let Some(unit) = family.encoder_unit() {
        writeln!(out, "# UNIT {name} {}", unit.as_str())?;
    }
    let mut below = 0;
    for (bound, count) in &buckets.counts {
        below += count;
        match bound {
            bound if bound.is_finite() => writeln!(out, "{name}_bucket{{le=\"{bound:?}\"}} {below}")?,
            _ => writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {below}")?,
        }
    }
    writeln!(out, "{name}_gcount {below}\n{name}_gsum {:?}", buckets.sum)
}
