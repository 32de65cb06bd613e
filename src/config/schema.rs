//! The JSON Schema of the configuration, made from the same lines that read it.

use serde_json::{Map, Value as Json, json};

use super::{
    raw::File,
    reader::{Key, Read},
};

/// JSON Schema (draft 2020-12) of `tidegate.toml`.
pub fn schema() -> Json {
    let mut schema = File::schema();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "tidegate.toml".into();
    schema
}

/// One key of a table.
pub(super) struct Property {
    pub(super) key: Key,
    pub(super) schema: Json,
    pub(super) default: Option<Json>,
    pub(super) required: bool,
}

/// The schema of a table that refuses keys other than `properties`.
pub(super) fn table(about: Key, properties: Vec<Property>) -> Json {
    let required: Vec<_> = properties.iter().filter(|p| p.required).map(|p| p.key.name).collect();
    let mut all = Map::new();
    for mut property in properties {
        property.schema["description"] = property.key.about().into();
        if let Some(default) = property.default {
            property.schema["default"] = default;
        }
        all.insert(property.key.name.to_owned(), property.schema);
    }
    json!({
        "type": "object",
        "description": about.about(),
        "properties": all,
        "required": required,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of the schema, each with the path that leads to it.
    fn keys(schema: &Json, path: &str, out: &mut Vec<String>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}{key}");
            let inner = [&property["items"], &property["additionalProperties"], property];
            let table = inner.into_iter().find(|inner| inner["properties"].is_object());
            match table {
                Some(table) => keys(table, &format!("{path}."), out),
                None => out.push(path),
            }
        }
    }

    #[test]
    fn the_schema_holds_the_contracts_keys() {
        let mut found = Vec::new();
        keys(&schema(), "", &mut found);
        for key in [
            "process.workers",
            "admin.token_file",
            "admin.hosts",
            "listener.bind",
            "backend.endpoints",
            "route.override.equals",
            "route.timeouts.total",
            "route.split",
            "rollout.step.require",
            "rollout.rollback.for",
            "rollout.breaker.within",
            "rollout.budget.max_bad_responses",
        ] {
            assert!(found.iter().any(|path| path == key), "{key} is not in {found:?}");
        }
        assert_eq!(found.len(), 196, "{found:?}");
    }

    #[test]
    fn defaults_and_meanings_are_told() {
        let schema = schema();
        let timeouts = &schema["properties"]["route"]["items"]["properties"]["timeouts"];
        assert_eq!(timeouts["properties"]["connect"]["default"], "1s");
        assert_eq!(timeouts["properties"]["total"]["default"], "off");
        assert!(timeouts["description"].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!(schema["required"], json!(["listener", "backend", "route"]));
        assert_eq!(schema["additionalProperties"], false);
    }
}
