//! What one process among several does.

/// The part of a process in its consumer group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It waits to be taken in.
    Joining,
    /// It takes over when the leader goes.
    Standby,
    /// It stages what is its own to do, and the leader merges that.
    Sharing,
    /// It writes the warehouse.
    Leader,
}

/// All of [`Role`].
pub const ROLES: [Role; 4] = [Role::Joining, Role::Standby, Role::Sharing, Role::Leader];

impl Role {
    /// Its name in metrics and status.
    pub fn name(self) -> &'static str {
        match self {
            Role::Joining => "joining",
            Role::Standby => "standby",
            Role::Sharing => "sharing",
            Role::Leader => "leader",
        }
    }
}
