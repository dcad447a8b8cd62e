//! The page: a group for each first part of a path, in it each operation with its parameters, bodies and an example.

use std::fmt::Write;

use serde_json::{Map, Value, json};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// How deep examples are followed: no schema of ours nests deeper.
const DEPTH: usize = 6;

struct Operation<'a> {
    method: &'static str,
    /// With where the API is.
    path: String,
    about: &'a Value,
}

/// The page for a document.
pub(super) fn page(document: &Value, style: &str) -> String {
    let mut groups: Vec<(&str, Vec<Operation>)> = Vec::new();
    for (path, item) in fields(&document["paths"]) {
        let server =
            item.get("servers").unwrap_or(&document["servers"])[0]["url"].as_str().unwrap_or_default();
        for method in METHODS {
            let Some(about) = item.get(method) else { continue };
            let tag = text(&about["tags"][0]);
            let operation =
                Operation { method, path: format!("{}{path}", server.trim_end_matches('/')), about };
            match groups.iter_mut().find(|(name, _)| *name == tag) {
                Some((_, operations)) => operations.push(operation),
                None => groups.push((tag, vec![operation])),
            }
        }
    }
    groups.sort_by_key(|(name, _)| *name);
    let mut navigation = String::new();
    let mut sections = String::new();
    for (name, operations) in &mut groups {
        operations.sort_by(|one, other| one.path.cmp(&other.path));
        push(&mut navigation, format_args!("<li><a href=\"#{name}\">{name}</a></li>"));
        push(&mut sections, format_args!("<section id=\"{name}\"><h2>{name}</h2>"));
        for operation in &*operations {
            sections.push_str(&article(document, operation));
        }
        sections.push_str("</section>");
    }
    let title = escape(text(&document["info"]["title"]));
    let about = text(&document["info"]["description"]).split("\n\n");
    let about: String = about.map(|part| format!("<p>{}</p>", marked(part))).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{style}</style></head>\n<body><header><h1>{title}</h1>\
         {about}<p>For programs: <a href=\"openapi.json\">openapi.json</a> (OpenAPI 3.1).</p></header>\n\
         <nav><ul>{navigation}</ul></nav>\n<main>{sections}</main></body></html>\n"
    )
}

fn article(document: &Value, operation: &Operation) -> String {
    let Operation { method, path, about } = operation;
    let id = text(&about["operationId"]);
    let mut html = format!(
        "<article id=\"{id}\"><h3><a href=\"#{id}\"><span class=\"method\">{}</span> <code>{}</code></a></h3>\
         <p>{}. <span class=\"permission\">{}</span>",
        method.to_uppercase(),
        escape(path),
        escape(text(&about["summary"])),
        escape(text(&about["x-wharf-permission"])),
    );
    if text(&about["x-wharf-second-factor"]) == "with this request" {
        html.push_str(" <span class=\"permission\">asks for the second factor: X-Wharf-OTP</span>");
    }
    html.push_str("</p>");
    if let Some(parameters) = about["parameters"].as_array() {
        let rows: String = parameters.iter().map(|parameter| parameter_row(document, parameter)).collect();
        html.push_str(&table("Parameters", &rows));
    }
    let body = about["requestBody"]["content"].as_object().and_then(|content| content.iter().next());
    if let Some((media_type, body)) = body {
        let optional = if about["requestBody"]["required"] == json!(true) { "" } else { ", may be left out" };
        html.push_str(&schema_table(document, &format!("Body ({media_type}{optional})"), &body["schema"]));
    }
    let body = body.map(|(media_type, body)| (media_type.as_str(), &body["schema"]));
    push(&mut html, format_args!("<pre>{}</pre>", escape(&request(document, operation, body))));
    let (mut success, mut errors) = (String::new(), Vec::new());
    for (status, answer) in fields(&about["responses"]) {
        if !status.starts_with('2') {
            errors.push(status.as_str());
            continue;
        }
        success = answer_html(document, status, answer);
    }
    html.push_str(&success);
    push(&mut html, format_args!("<p class=\"errors\">Errors: {}</p></article>", errors.join(", ")));
    html
}

fn answer_html(document: &Value, status: &str, answer: &Value) -> String {
    let Some(content) = answer["content"].as_object() else {
        return format!("<p class=\"errors\">Answer: {status}, without a body</p>");
    };
    let described = content
        .iter()
        .find(|(_, body)| body["schema"].get("$ref").is_some() || body["schema"].get("properties").is_some());
    let media_types: Vec<_> = content.keys().map(String::as_str).collect();
    let caption = format!("Answer: {status} ({})", media_types.join(", "));
    let Some((_, body)) = described else { return format!("<p class=\"errors\">{}</p>", escape(&caption)) };
    let example =
        serde_json::to_string_pretty(&example(document, &body["schema"], DEPTH)).unwrap_or_default();
    schema_table(document, &caption, &body["schema"]) + &format!("<pre>{}</pre>", escape(&example))
}

/// What is typed to ask for it.
fn request(document: &Value, operation: &Operation, body: Option<(&str, &Value)>) -> String {
    let mut path = operation.path.clone();
    for parameter in operation.about["parameters"].as_array().into_iter().flatten() {
        let name = format!("{{{}}}", text(&parameter["name"]));
        path = path.replace(&name, text(&parameter["example"]));
    }
    let user = if operation.about["security"].as_array().is_some_and(|ways| !ways.is_empty()) {
        "-u ann "
    } else {
        ""
    };
    let method = if operation.method == "get" {
        String::new()
    } else {
        format!(" -X {}", operation.method.to_uppercase())
    };
    let body = match body {
        Some(("application/json", schema)) => format!(" \\\n  -d '{}'", example(document, schema, DEPTH)),
        Some(_) => " \\\n  -d grant_type=password -d username=ann --data-urlencode password@FILE".into(),
        None => String::new(),
    };
    format!("curl {user}https://registry.example.com{path}{method}{body}")
}

fn parameter_row(document: &Value, parameter: &Value) -> String {
    let place = text(&parameter["in"]);
    let schema = &parameter["schema"];
    row(
        text(&parameter["name"]),
        &format!("{}, in the {place}", kind(document, schema)),
        text(&parameter["description"]),
    )
}

fn schema_table(document: &Value, caption: &str, schema: &Value) -> String {
    let mut rows = String::new();
    schema_rows(document, schema, "", DEPTH, &mut rows);
    table(caption, &rows)
}

/// A row for each field; those of objects in objects have the path to them as their name.
fn schema_rows(document: &Value, schema: &Value, within: &str, depth: usize, rows: &mut String) {
    if depth == 0 {
        return;
    }
    let beside = schema;
    let (schema, ways) = (resolve(document, schema), ["oneOf", "anyOf"]);
    if !std::ptr::eq(beside, schema) && beside.get("properties").is_some() {
        let beside = json!({"properties": beside["properties"], "required": beside["required"]});
        schema_rows(document, &beside, within, depth - 1, rows);
    }
    for way in ways.iter().filter_map(|way| schema[*way].as_array()).flatten() {
        schema_rows(document, way, within, depth - 1, rows);
    }
    if let Some(items) = schema.get("items") {
        schema_rows(document, items, &format!("{within}[]"), depth - 1, rows);
    }
    let required = schema["required"].as_array();
    for (name, field) in fields(&schema["properties"]) {
        let needed = required.is_some_and(|required| required.iter().any(|needed| needed == name));
        let mut form = kind(document, field);
        if !needed {
            form.push_str(", optional");
        }
        if let Some(default) =
            field.get("default").filter(|default| !default.is_null() && **default != json!(""))
        {
            push(&mut form, format_args!("; {default} where absent"));
        }
        let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        let about = field.get("description").or_else(|| resolve(document, field).get("description"));
        rows.push_str(&row(&path, &form, about.map_or("", text)));
        schema_rows(document, field, &path, depth - 1, rows);
    }
}

/// What a value is, in a few words.
fn kind(document: &Value, schema: &Value) -> String {
    if let Some(ways) = schema["anyOf"].as_array() {
        let ways: Vec<String> = ways.iter().map(|way| kind(document, way)).collect();
        return ways.join(" or ");
    }
    let schema = resolve(document, schema);
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(text).collect::<Vec<_>>().join(" | ");
    }
    if let Some(ways) = schema["oneOf"].as_array() {
        return ways.iter().map(|way| text(&way["const"])).collect::<Vec<_>>().join(" | ");
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        one => text(one).to_owned(),
    };
    match (types.as_str(), schema["format"].as_str()) {
        ("string", Some("date-time")) => "moment".into(),
        ("string or null", Some("date-time")) => "moment or null".into(),
        (array, _) if array.starts_with("array") => {
            array.replacen("array", &format!("list of {}", kind(document, &schema["items"])), 1)
        }
        _ => types,
    }
}

/// A value that the schema allows.
fn example(document: &Value, schema: &Value, depth: usize) -> Value {
    let schema = resolve(document, schema);
    let first = |name: &str| schema[name].as_array().and_then(|values| values.first());
    let given = schema.get("default").filter(|default| !default.is_null() && **default != json!(""));
    if let Some(value) = first("examples").or_else(|| schema.get("const")).or(given).or_else(|| first("enum"))
    {
        return value.clone();
    }
    if depth == 0 {
        return Value::Null;
    }
    if let Some(way) = first("oneOf").or_else(|| first("anyOf")) {
        let mut value = example(document, way, depth - 1);
        if let (Some(value), Some(_)) = (value.as_object_mut(), schema.get("properties")) {
            value.extend(object(document, schema, depth));
        }
        return value;
    }
    let types = &schema["type"];
    match types.as_str().or_else(|| types[0].as_str()) {
        Some("object") => object(document, schema, depth).into(),
        Some("array") => json!([example(document, &schema["items"], depth - 1)]),
        Some("string") if schema["format"] == "date-time" => json!("2027-01-31T12:00:00Z"),
        Some("string") => json!("..."),
        Some("boolean") => json!(false),
        Some("integer") => json!(7),
        _ => Value::Null,
    }
}

fn object(document: &Value, schema: &Value, depth: usize) -> Map<String, Value> {
    fields(&schema["properties"])
        .map(|(name, field)| (name.clone(), example(document, field, depth - 1)))
        .collect()
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn table(caption: &str, rows: &str) -> String {
    format!("<table><caption>{}</caption><tbody>{rows}</tbody></table>", escape(caption))
}

fn row(name: &str, form: &str, about: &str) -> String {
    format!(
        "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td></tr>",
        escape(name),
        escape(form),
        marked(about)
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What stands between backquotes is code.
fn marked(about: &str) -> String {
    let parts = about.split('`').enumerate();
    parts
        .map(
            |(number, part)| {
                if number % 2 == 1 { format!("<code>{}</code>", escape(part)) } else { escape(part) }
            },
        )
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn push(html: &mut String, text: std::fmt::Arguments) {
    // Writing to a string does not fail.
    let _infallible = html.write_fmt(text);
}
