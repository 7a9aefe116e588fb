//! Which new processes are monitored because they wake by themselves.

use holon_protocol::{ItemId, ProcessId};

use super::Driver;
use crate::births::Admitted;
use crate::crank::budget::Limit;
use crate::crank::outgoing::Skipped;
use crate::crank::task::ProcessRecord;
use crate::outbox::OutboxError;

impl Driver {
    /// Which of these new processes are monitored from now on, once that is stored. Those that their lineage may not have are told of.
    pub(super) async fn born(
        &self,
        processes: &[(ProcessId, ProcessRecord)],
        lineage: Option<ItemId>,
        skipped: &mut Vec<Skipped>,
    ) -> Result<Admitted<'_>, OutboxError> {
        let wake = match self.0.policy.auto_cron {
            true => processes.iter().filter(|(_, record)| record.cron).map(|(process, _)| *process).collect(),
            false => Vec::new(),
        };
        let most = self.0.limits.budgets.crons_per_lineage;
        let admitted = self.0.births.admit(self.0.outbox.shared(), wake, lineage, most).await?;
        for (process, record) in processes {
            if record.cron && self.0.policy.auto_cron && !admitted.processes().contains(process) {
                // Once a message of another lineage comes by, or there may be room, it is looked at again.
                self.0.births.declined(*process, lineage);
                self.0.metrics.over_budget(Limit::Crons.name());
                let reason = match most {
                    0 => "too many processes of its lineage wake by themselves already; this one does not".to_owned(),
                    most => format!(
                        "{most} processes of its lineage wake by themselves already, or as many as there is room for; this one does not"
                    ),
                };
                let text = lineage.map_or_else(String::new, |lineage| format!("lineage {lineage}"));
                skipped.push(Skipped { entry: format!("cron of {process}"), reason, text });
            }
            self.0.outside.learn(*process, record.clone());
        }
        Ok(admitted)
    }
}
