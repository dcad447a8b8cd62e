//! The binary `wharf`: puts the command line and the server together.
#![allow(clippy::disallowed_methods, reason = "the environment is read here, and handed on")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use cli::{Host, Lines, Request, ServeFlags};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use server::{AdminRequest, AuthMode, Config, LogFormat, Overrides};

fn main() -> ExitCode {
    cli::run(std::env::args_os(), &ThisMachine)
}

/// What happens on the machine that the command runs on.
struct ThisMachine;

impl Host for ThisMachine {
    fn serve(&self, flags: ServeFlags) -> BoxFuture<'_, Result<()>> {
        async move {
            let overrides = Overrides {
                data: flags.data,
                listen: addresses(flags.listen.unwrap_or_default())?,
                tls_certificate: flags.tls_cert,
                tls_key: flags.tls_key,
                allow_unauthenticated_network: flags.allow_unauthenticated_network,
                auth: flags.auth.map(auth_mode),
                log_level: flags.log,
                log_format: flags.log_format.map(log_format),
            };
            server::serve(load(flags.config, overrides)?).await
        }
        .boxed()
    }

    fn admin(
        &self,
        data: Option<PathBuf>,
        config: Option<PathBuf>,
        request: Request,
    ) -> BoxFuture<'_, Result<Lines>> {
        async move {
            let request = AdminRequest {
                method: request.method.parse().context("that is no method")?,
                path: request.path,
                body: request.body,
            };
            server::admin(load(config, Overrides { data, ..Overrides::default() })?, &request).await
        }
        .boxed()
    }
}

fn addresses(texts: Vec<String>) -> Result<Vec<SocketAddr>> {
    let parse = |text: String| {
        let address = text.parse::<SocketAddr>();
        address.with_context(|| {
            format!("`{text}` is not an address and port, such as 127.0.0.1:5000 or [::1]:5000")
        })
    };
    texts.into_iter().map(parse).collect()
}

const fn log_format(format: cli::LogFormat) -> LogFormat {
    match format {
        cli::LogFormat::Text => LogFormat::Text,
        cli::LogFormat::Json => LogFormat::Json,
    }
}

const fn auth_mode(mode: cli::AuthMode) -> AuthMode {
    match mode {
        cli::AuthMode::Auto => AuthMode::Auto,
        cli::AuthMode::On => AuthMode::On,
        cli::AuthMode::Off => AuthMode::Off,
    }
}

fn load(file: Option<PathBuf>, overrides: Overrides) -> Result<Config> {
    Config::load(file.as_deref(), &|name| std::env::var(name).ok(), overrides)
}
