//! How each purpose came to be served, and what that means to the reader. Pure.

use super::plan::{Choice, Hook, Purpose};

/// How one purpose is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// What for.
    pub purpose: Purpose,
    /// By which hook; `None` when by none.
    pub by: Option<Hook>,
    /// Hooks that were not tried or were refused, and why.
    pub refused: Vec<(Hook, String)>,
    /// No hook is needed: another one covers it.
    pub covered: bool,
}

impl Served {
    /// Served by nothing yet.
    pub(super) fn nothing(purpose: Purpose) -> Self {
        Self { purpose, by: None, refused: Vec::new(), covered: false }
    }

    /// Served by nothing yet, of what the plan chose.
    pub(super) fn untried(choice: &Choice) -> Self {
        Self { refused: choice.ruled_out.clone(), ..Self::nothing(choice.purpose) }
    }

    /// What is lost; `None` when the purpose is served as well as it can be.
    pub fn lost(&self) -> Option<&'static str> {
        match self.by {
            Some(Hook::Stack) if !self.refused.is_empty() => {
                Some("most frames of programs built without frame pointers")
            }
            None if !self.covered => Some(self.purpose.lost()),
            _ => None,
        }
    }

    /// What is lost and why; `None` when the purpose is served as well as it can be.
    pub fn degraded(&self) -> Option<String> {
        let lost = self.lost()?;
        let why: Vec<_> = self.refused.iter().map(|(hook, why)| format!("{hook}: {why}")).collect();
        let (name, why) = (self.purpose.name(), why.join("; "));
        let state = if self.by.is_some() { "only by frame pointers" } else { "off" };
        Some(format!("{name} {state} ({why}); lost: {lost}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_lost_is_called_degraded() {
        let off = || vec![(Hook::UserStack, "off".to_owned())];
        let served = |by, refused| Served { by, refused, ..Served::nothing(Purpose::UserStack) }.degraded();
        assert_eq!(served(Some(Hook::UserStack), vec![]), None);
        assert_eq!(served(Some(Hook::Stack), vec![]), None);
        let second_best = served(Some(Hook::Stack), off()).unwrap();
        assert!(second_best.starts_with("user stacks only by frame pointers (user_stack: off); lost: most"));
        assert!(served(None, off()).unwrap().starts_with("user stacks off (user_stack: off); lost: which"));
    }
}
