//! Which backends of its upstream a route goes to.

use document::{Code, Diagnostic, Report};
use upstream::SubsetId;

use super::Site;
use crate::Destination;

impl Site<'_> {
    /// Which backends alone the route goes to.
    pub(super) fn subset(&self, destination: Option<&Destination>, report: &mut Report) -> Option<SubsetId> {
        let labels = self.written.policies.subset.as_ref()?;
        let at = self.at.key("subset");
        let Destination::Upstream(upstream) = destination? else {
            report.push(
                Diagnostic::new(Code::E0107, "`subset` needs an `upstream`")
                    .label(at.name(), "the backends of what?")
                    .help("make an upstream for each side of the split, or delete `subset`"),
            );
            return None;
        };
        let subset = upstream.subset(labels)?;
        if upstream.discovers().is_none() && !upstream.has_any(subset) {
            let message = format!("no backend of upstream `{}` has these labels", upstream.name());
            report.push(
                Diagnostic::new(Code::E0107, message)
                    .label(&at, "nobody would answer")
                    .help("write `{ url = \"…\", labels = { version = \"2\" } }` for the backends"),
            );
        }
        Some(subset)
    }
}
