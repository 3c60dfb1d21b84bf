//! Every line the tool prints as JSON is held against the schema it publishes.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

const SCHEMA: &str = include_str!("../../closewait-user/schema/closewait-trace.schema.json");

/// Parses a line; panics with the violations when the schema does not allow it.
pub(crate) fn parse(line: &str) -> Value {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    let validator = VALIDATOR.get_or_init(|| {
        let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
        jsonschema::validator_for(&schema).expect("the schema is a JSON schema")
    });
    let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    let wrong: Vec<_> =
        validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{line}\nis against the schema:\n{}", wrong.join("\n"));
    value
}

/// The schema must be able to say no, or the check above is worth nothing.
#[test]
fn the_schema_refuses_what_is_not_a_report() {
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a JSON schema");
    for wrong in
        ["{}", "[]", r#"{"schema":1}"#, r#"{"schema":1,"kind":"stack"}"#, r#"{"schema":1,"kind":"stuck"}"#]
    {
        let value = serde_json::from_str(wrong).expect("JSON");
        assert!(!validator.is_valid(&value), "the schema allows {wrong}");
    }
}
