//! What could only fail is found before it is built; and the same, asked for by itself.

use std::time::Duration;

use super::{RoadError, Session, check_account};
use crate::aws::Cloud;
use crate::deploy::{self, Change, Check, Loader, Present, Verdict};
use crate::event::{Event, Events};

/// Before a build this long is waited for an answer: what was not looked at by then is not known, and stops nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// What loaders stand on.
#[derive(Debug)]
pub struct Preflight {
    /// Who calls AWS, and where.
    pub who: Vec<Check>,
    /// Of each loader; empty where AWS could not be called.
    pub loaders: Vec<Vec<Check>>,
}

/// All that can be known of loaders before they are built. Reads only.
pub async fn preflight(session: &Session, loaders: &[Loader]) -> Preflight {
    let (who, cloud) = who(session).await;
    let each = loaders.iter().map(|loader| async {
        match &cloud {
            Some(cloud) => deploy::preflight(cloud, loader).await,
            None => Vec::new(),
        }
    });
    Preflight { who, loaders: futures_util::future::join_all(each).await }
}

/// Who calls AWS, and where; nobody where no account can be reached.
pub(super) async fn who(session: &Session) -> (Vec<Check>, Option<Cloud>) {
    let cloud = match Cloud::connect(&session.cloud).await {
        Ok(cloud) => cloud,
        Err(error) => return (vec![deploy::stranger(&error)], None),
    };
    let mut checks = deploy::identity(&cloud);
    if let (Err(error), Some(account)) =
        (check_account(&cloud, session.account.as_deref()), checks.iter_mut().find(|check| check.name == "account"))
    {
        let mend = "use the profile of that account (--profile), or take the variable back".to_owned();
        *account =
            Check { verdict: Verdict::Ng, says: error.to_string(), mend: Some(mend), stops: true, ..account.clone() };
    }
    (checks, Some(cloud))
}

/// Refuses what could only fail. What may fail is warned of; what is not known is passed over.
pub(super) async fn refuse(
    cloud: &Cloud,
    loader: &Loader,
    present: &Present,
    changes: &[Change],
    events: &Events,
) -> Result<(), RoadError> {
    let looking = deploy::before_build(cloud, loader, present, changes);
    let Ok(checks) = tokio::time::timeout(PATIENCE, looking).await else {
        events.emit(Event::Note("the network and the permissions are not known: AWS takes long to answer".to_owned()));
        return Ok(());
    };
    let bad = checks.into_iter().filter(|check| check.verdict == Verdict::Ng);
    let (fatal, doubtful): (Vec<Check>, Vec<Check>) = bad.partition(|check| check.stops);
    if !fatal.is_empty() {
        return Err(RoadError::Preflight(fatal));
    }
    for Check { name, says, mend, .. } in doubtful {
        events.emit(Event::Warning { message: format!("{name}: {says}"), hint: mend });
    }
    Ok(())
}
