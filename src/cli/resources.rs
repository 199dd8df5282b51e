//! `jeton resource …`

use clap::Subcommand;
use serde_json::json;

use super::context::{Context, Intent, context};
use super::table::{list, table};
use super::{Global, print, print_json, say};
use crate::error::Exit;
use crate::manage::describe::{ResourceDescription, ScopeDescription};
use crate::manage::resources::ResourceView;

#[derive(Debug, Subcommand)]
pub(super) enum Resources {
    /// Register an API
    #[command(after_help = "Example:\n  jeton resource create https://api.example.test/ --scope \
                            read --scope write")]
    Create {
        /// Its identifier: an absolute URI, the audience of its tokens
        id: String,
        /// A scope that it understands; may repeat
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
    /// Show all resources
    #[command(after_help = "Example:\n  jeton resource list")]
    List,
    /// Show one resource
    #[command(after_help = "Example:\n  jeton resource show https://api.example.test/")]
    Show {
        /// Its identifier
        id: String,
    },
    /// Delete a resource that no client uses any more
    #[command(after_help = "Example:\n  jeton resource delete https://api.example.test/")]
    Delete {
        /// Its identifier
        id: String,
    },
}

impl Resources {
    pub(super) async fn run(self, global: &Global) -> Result<(), Exit> {
        let looks = matches!(self, Self::List | Self::Show { .. });
        let intent = if looks { Intent::Look } else { Intent::Act };
        let Context { desk, now } = context(global, intent).await?;
        match self {
            Self::Create { id, scopes } => {
                let scopes = scopes.into_iter().map(ScopeDescription::Name).collect();
                let description = ResourceDescription { id, scopes, ..Default::default() };
                show(global, &[desk.create_resource(&description, now).await?])
            }
            Self::List => show(global, &desk.resources().await?),
            Self::Show { id } => print_json(&desk.resource(&id).await?),
            Self::Delete { id } => {
                desk.delete_resource(&id, now).await?;
                say(global, &json!({ "deleted": id }), &format!("deleted {id}"))
            }
        }
    }
}

fn show(global: &Global, resources: &[ResourceView]) -> Result<(), Exit> {
    if global.json {
        return print_json(&resources);
    }
    let row = |resource: &ResourceView| {
        let names: Vec<_> = resource.scopes.iter().map(|scope| scope.name.as_str()).collect();
        vec![resource.id.clone(), list(&names), resource.updated_at.clone()]
    };
    let rows: Vec<_> = resources.iter().map(row).collect();
    print(table(&["RESOURCE", "SCOPES", "CHANGED"], &rows))?;
    Ok(())
}
