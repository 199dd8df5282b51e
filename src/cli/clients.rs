//! `jeton client …`

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, Intent, context};
use super::table::{list, table};
use super::{Global, print, print_json, say, stdin};
use crate::error::Exit;
use crate::manage::clients::{ClientView, NewSecret};
use crate::manage::describe::ClientDescription;
use crate::secret::WrittenSecret;

#[derive(Debug, Subcommand)]
pub(super) enum Clients {
    /// Register a client; a confidential one gets a secret, which is shown this once
    #[command(after_help = "Examples:
  jeton client create app --resource \
                            https://api.example.test/ --scope read
  jeton client create app \
                            --resource https://api.example.test/ --secret-stdin < secret")]
    Create(Box<Create>),
    /// Show all clients
    #[command(after_help = "Examples:\n  jeton client list\n  jeton client list --json")]
    List,
    /// Show one client with its secrets' ages
    #[command(after_help = "Example:\n  jeton client show app")]
    Show {
        /// Its identifier
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Switch a client off: it can no longer authenticate, on any replica, within seconds
    #[command(after_help = "Example:\n  jeton client disable app")]
    Disable {
        /// Its identifier
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Switch a client on again
    #[command(after_help = "Example:\n  jeton client enable app")]
    Enable {
        /// Its identifier
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Delete a client with its secrets
    #[command(after_help = "Example:\n  jeton client delete app")]
    Delete {
        /// Its identifier
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
    /// Give a client a new secret, shown this once; the present one works for another day
    #[command(after_help = "Example:\n  jeton client rotate-secret app")]
    RotateSecret {
        /// Its identifier
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its identifier: letters, digits and . _ ~ -
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// Its name for people
    #[arg(long)]
    name: Option<String>,
    /// How it authenticates: client_secret_basic, client_secret_post or none
    #[arg(long, value_name = "METHOD")]
    auth_method: Option<String>,
    /// A grant it may use; may repeat [default: client_credentials]
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    /// A resource it may ask tokens for; may repeat
    #[arg(long = "resource", value_name = "URI")]
    resources: Vec<String>,
    /// The resource of a request that names none [default: the only one]
    #[arg(long, value_name = "URI")]
    default_resource: Option<String>,
    /// A scope it may have; may repeat [default: all of its resources]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A scope it gets when it names none; may repeat [default: all it may have]
    #[arg(long = "default-scope", value_name = "SCOPE")]
    default_scopes: Vec<String>,
    /// How long its access tokens live, such as 10m
    #[arg(long, value_name = "DURATION")]
    access_token_ttl: Option<String>,
    /// The key line that signs for it, such as ES256
    #[arg(long, value_name = "ALG")]
    algorithm: Option<String>,
    /// Read the secret from standard input instead of making one
    #[arg(long)]
    secret_stdin: bool,
}

impl Create {
    fn describe(self) -> Result<ClientDescription, Exit> {
        let secret = if self.secret_stdin {
            Some(WrittenSecret::new(&stdin::text("secret")?))
        } else {
            None
        };
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        Ok(ClientDescription {
            id: self.id,
            name: self.name,
            secret,
            auth_method: self.auth_method,
            grants: some(self.grants),
            resources: self.resources,
            default_resource: self.default_resource,
            scopes: some(self.scopes),
            default_scopes: some(self.default_scopes),
            access_token_ttl: self.access_token_ttl,
            algorithm: self.algorithm,
            ..ClientDescription::default()
        })
    }
}

impl Clients {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let looks = matches!(self, Self::List | Self::Show { .. });
        let intent = if looks { Intent::Look } else { Intent::Act };
        let Context { desk, now } = context(global, intent).await?;
        match self {
            Self::Create(create) => {
                show_secret(global, &desk.create_client(&create.describe()?, now).await?)
            }
            Self::List => show(global, &desk.clients().await?),
            Self::Show { id } => print_json(&desk.client(&id).await?),
            Self::Disable { id } => show(global, &[desk.disable_client(&id, now).await?]),
            Self::Enable { id } => show(global, &[desk.enable_client(&id, now).await?]),
            Self::Delete { id } => {
                desk.delete_client(&id, now).await?;
                say(global, &json!({ "deleted": id }), &format!("deleted {id}"))
            }
            Self::RotateSecret { id } => show_secret(global, &desk.rotate_secret(&id, now).await?),
        }
    }
}

fn show_secret(global: &Global, created: &NewSecret) -> Result<(), Exit> {
    if global.json {
        return print_json(created);
    }
    print(format_args!("client_id      {}", created.client_id))?;
    if let Some(secret) = &created.client_secret {
        print(format_args!("client_secret  {}", secret.expose()))?;
        print("\nThe secret is shown this once; only a digest of it is kept.")?;
    }
    Ok(())
}

fn show(global: &Global, clients: &[ClientView]) -> Result<(), Exit> {
    if global.json {
        return print_json(&clients);
    }
    let row = |client: &ClientView| {
        let used = client.secrets.iter().filter_map(|one| one.last_used_at.clone()).max();
        vec![
            client.id.clone(),
            if client.disabled { "disabled" } else { "enabled" }.to_owned(),
            client.auth_method.to_owned(),
            list(&client.grants),
            list(&client.resources),
            client.scopes.as_ref().map_or_else(|| "all".to_owned(), |scopes| list(scopes)),
            used.unwrap_or_else(|| "never".to_owned()),
        ]
    };
    let rows: Vec<_> = clients.iter().map(row).collect();
    let head =
        ["CLIENT", "STATE", "AUTHENTICATES BY", "GRANTS", "RESOURCES", "SCOPES", "LAST SEEN"];
    print(table(&head, &rows))?;
    Ok(())
}
