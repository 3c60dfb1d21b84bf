//! The JSON Schema of the JSON lines, generated from the structures that write
//! them. The committed copy is `closewait-user/schema/closewait-trace.schema.json`;
//! a test fails when it is stale.

use super::json::line::Line;

/// JSON Schema (draft 2020-12) of one line of `--output json`.
pub fn schema() -> serde_json::Value {
    let generator = schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
    generator.into_root_schema_for::<Line>().to_value()
}

/// [`schema`], as it is committed: indented, with a newline at the end.
pub fn schema_file() -> String {
    format!("{:#}\n", schema())
}
