//! One connection: to a Redis, to the nodes of a cluster, or to the Redis that sentinels name.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisResult,
    ScriptInvocation, TlsCertificates, TlsMode,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use crate::{
    Settings,
    compile::{Reach, is_secure},
};

/// How often a node of a cluster is asked anew that has not answered: a request does not wait for long.
const RETRIES: u32 = 2;

/// A connection that many requests share.
#[derive(Clone)]
pub(crate) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub(crate) async fn invoke(&self, call: &ScriptInvocation<'_>) -> RedisResult<Vec<i64>> {
        match self.clone() {
            Self::One(mut connection) => call.invoke_async(&mut connection).await,
            Self::Cluster(mut connection) => call.invoke_async(&mut connection).await,
        }
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self.clone() {
            Self::One(mut connection) => command.query_async(&mut connection).await,
            Self::Cluster(mut connection) => command.query_async(&mut connection).await,
        }
    }

    /// Asks whether it is still there; a cluster, whether all of it is.
    pub(crate) async fn ping(&self) -> RedisResult<()> {
        self.query::<String>(&redis::cmd("PING")).await.map(drop)
    }
}

/// Whether it can be connected to like this, as far as can be said without asking anybody.
pub(crate) fn check(settings: &Settings) -> RedisResult<()> {
    match &settings.reach {
        Reach::Direct => direct(settings).map(drop),
        Reach::Cluster => cluster(settings).map(drop),
        Reach::Sentinel { primary, password } => sentinel(settings, primary, password.as_deref()).map(drop),
    }
}

/// Connects, and waits no longer than `patience` for an answer then or later.
pub(crate) async fn open(settings: &Settings, patience: Duration) -> RedisResult<Link> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(patience)).set_response_timeout(Some(patience));
    match &settings.reach {
        Reach::Direct => {
            let client = direct(settings)?;
            Ok(Link::One(client.get_multiplexed_async_connection_with_config(&config).await?))
        }
        Reach::Cluster => Ok(Link::Cluster(cluster(settings)?.get_async_connection().await?)),
        Reach::Sentinel { primary, password } => {
            let mut client = sentinel(settings, primary, password.as_deref())?;
            Ok(Link::One(client.get_async_connection_with_config(&config).await?))
        }
    }
}

fn infos(settings: &Settings) -> RedisResult<Vec<ConnectionInfo>> {
    settings.urls.iter().map(|url| url.as_str().into_connection_info()).collect()
}

fn certificates(settings: &Settings) -> Option<TlsCertificates> {
    let root_cert = Some(settings.ca.clone()?);
    Some(TlsCertificates { client_tls: None, root_cert })
}

fn direct(settings: &Settings) -> RedisResult<Client> {
    let info = settings.urls.first().map(String::as_str).unwrap_or_default().into_connection_info()?;
    let mut login = info.redis_settings().clone();
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password);
    }
    let info = info.set_redis_settings(login);
    match certificates(settings) {
        None => Client::open(info),
        Some(certificates) => Client::build_with_tls(info, certificates),
    }
}

fn cluster(settings: &Settings) -> RedisResult<ClusterClient> {
    let mut builder = ClusterClientBuilder::new(infos(settings)?).retries(RETRIES);
    builder = builder.connection_timeout(crate::keep::CONNECT).response_timeout(crate::keep::CONNECT);
    if let Some(username) = &settings.username {
        builder = builder.username(username);
    }
    if let Some(password) = &settings.password {
        builder = builder.password(password);
    }
    match certificates(settings) {
        None => builder.build(),
        Some(certificates) => builder.certs(certificates).build(),
    }
}

fn sentinel(settings: &Settings, primary: &str, own_password: Option<&str>) -> RedisResult<SentinelClient> {
    let infos = infos(settings)?;
    let database = infos.first().map_or(0, |info| info.redis_settings().db());
    let secure = infos.iter().any(is_secure);
    let addresses = infos.iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?;
    builder = builder.set_client_to_redis_db(database);
    if secure {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(username) = &settings.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &settings.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(password) = own_password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if let Some(certificates) = certificates(settings) {
        builder = builder.set_client_to_sentinel_certificates(certificates.clone());
        builder = builder.set_client_to_redis_certificates(certificates);
    }
    builder.build()
}
