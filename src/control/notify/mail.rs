//! A notification as mail, by SMTP.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};

use super::{
    delivery::DeliveryError,
    message::{subject, text},
};
use crate::{
    config::model::{Email, SmtpSecurity},
    control::outbound::{is_untrusted, read_secret},
    domain::Notification,
};

/// Sends `notification` to every receiver of `email`.
///
/// # Errors
/// [`DeliveryError`]: whether trying again may help.
pub(super) async fn send(
    email: &Email,
    notification: &Notification,
    timeout: Duration,
) -> Result<(), DeliveryError> {
    let message = message(email, notification).map_err(DeliveryError::Final)?;
    let transport = transport(email, timeout).await?;
    let sent = tokio::time::timeout(timeout, transport.send(message)).await;
    match sent {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.is_permanent() || is_untrusted(&error) => {
            Err(DeliveryError::Final(told(&error)))
        }
        Ok(Err(error)) => Err(DeliveryError::Passing(told(&error))),
        Err(_) => {
            let why = format!("no answer within {} ms", timeout.as_millis());
            Err(DeliveryError::Passing(why))
        }
    }
}

fn message(email: &Email, notification: &Notification) -> Result<Message, String> {
    let mailbox = |address: &str| {
        let parsed = address.parse();
        parsed
            .map(|address| Mailbox::new(None, address))
            .map_err(|error| format!("{address}: {error}"))
    };
    let mut builder = Message::builder()
        .from(mailbox(&email.from)?)
        .subject(subject(notification))
        .header(ContentType::TEXT_PLAIN);
    for to in &email.to {
        builder = builder.to(mailbox(to)?);
    }
    builder.body(text(notification)).map_err(|error| error.to_string())
}

async fn transport(
    email: &Email,
    timeout: Duration,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, DeliveryError> {
    let tls = match email.security {
        SmtpSecurity::None => Tls::None,
        SmtpSecurity::StartTls => Tls::Required(tls_parameters(&email.host).await?),
        SmtpSecurity::Tls => Tls::Wrapper(tls_parameters(&email.host).await?),
    };
    // "Dangerous" is a transport without encryption: the configuration says whether it is wanted.
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(email.host.as_ref())
        .port(email.port)
        .tls(tls)
        .timeout(Some(timeout));
    let Some((user, file)) = &email.login else { return Ok(builder.build()) };
    let password = read_secret(file).await.map_err(DeliveryError::Passing)?;
    Ok(builder.credentials(Credentials::new(user.to_string(), password)).build())
}

/// Made beside the runtime: the system's certificates are on a disk, which may hang.
async fn tls_parameters(host: &str) -> Result<TlsParameters, DeliveryError> {
    let host = host.to_owned();
    let made = tokio::task::spawn_blocking(move || TlsParameters::new(host)).await;
    let made = made.map_err(|error| DeliveryError::Passing(error.to_string()))?;
    made.map_err(|error| DeliveryError::Passing(told(&error)))
}

/// An error with its causes in one line.
fn told(error: &lettre::transport::smtp::Error) -> String {
    super::message::line(&error.to_string())
}
