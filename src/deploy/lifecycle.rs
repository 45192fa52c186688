//! Which images a repository forgets by itself.
//!
//! One policy serves all loaders of a repository, so each is counted by itself: a loader that is built often must not
//! push out another's images. What a task runs is always tagged (`<name>.<digest>`), and so is never untagged. The image
//! of the newest push has the tag `<name>` besides, and an image that a rule fits is not expired by a later rule
//! (<https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html>): the first rule of a loader, which
//! one tag cannot break, keeps it for ever, were it pushed again after years.

use serde_json::{Value, json};

/// Which images of the repository go by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// The user's own policy.
    Policy(Value),
    Rules {
        /// Images without a tag go after so many days.
        untagged_days: Option<u32>,
        /// So many images of each loader stay.
        keep: Option<u32>,
        /// The loaders whose images are counted.
        loaders: Vec<String>,
    },
}

impl Lifecycle {
    /// How many images of a loader stay, where that is known.
    pub(super) fn kept(&self) -> Option<u32> {
        match self {
            Self::Policy(_) => None,
            Self::Rules { keep, .. } => *keep,
        }
    }

    /// ECR's own document.
    pub(super) fn document(&self) -> Value {
        let (untagged_days, keep, loaders) = match self {
            Self::Policy(policy) => return policy.clone(),
            Self::Rules { untagged_days, keep, loaders } => (untagged_days, keep, loaders),
        };
        let mut rules = Vec::new();
        let mut rule = |words: String, selection: Value| {
            rules.push(json!({
                "rulePriority": rules.len() + 1,
                "description": words,
                "selection": selection,
                "action": { "type": "expire" },
            }));
        };
        if let Some(days) = untagged_days {
            rule(
                format!("images without a tag go; days: {days}"),
                json!({ "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days }),
            );
        }
        let tagged = |pattern: String, most: u32| {
            json!({
                "tagStatus": "tagged",
                "tagPatternList": [pattern],
                "countType": "imageCountMoreThan",
                "countNumber": most,
            })
        };
        for (name, most) in loaders.iter().filter_map(|name| Some((name, (*keep)?))) {
            rule(format!("the newest image of {name} stays"), tagged(name.clone(), 1));
            rule(format!("{most} images of {name} stay"), tagged(format!("{name}.*"), most));
        }
        json!({ "rules": rules })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loader_is_counted_by_itself_and_its_newest_image_stays() {
        let lifecycle =
            Lifecycle::Rules { untagged_days: Some(1), keep: Some(20), loaders: vec!["a".into(), "b".into()] };
        let document = lifecycle.document();
        let rules = document["rules"].as_array().expect("a list");
        let said: Vec<String> = rules
            .iter()
            .map(|rule| {
                let selection = &rule["selection"];
                format!("{} {} {}", rule["rulePriority"], selection["tagPatternList"], selection["countNumber"])
            })
            .collect();
        assert_eq!(said, ["1 null 1", r#"2 ["a"] 1"#, r#"3 ["a.*"] 20"#, r#"4 ["b"] 1"#, r#"5 ["b.*"] 20"#]);
        assert_eq!(rules[0]["selection"]["tagStatus"], "untagged");
    }
}
