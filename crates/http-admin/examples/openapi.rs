//! Writes the OpenAPI description of the administration API: `cargo run -p http-admin --example openapi >
//! docs/openapi.json`.

fn main() {
    println!("{:#}", http_admin::openapi());
}
