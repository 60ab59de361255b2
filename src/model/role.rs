//! What one process among several does.

/// The part of a process in its consumer group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It waits to be taken in.
    Joining,
    /// It takes over when the leader goes.
    Standby,
    /// It writes the warehouse.
    Leader,
}

/// All of [`Role`].
pub const ROLES: [Role; 3] = [Role::Joining, Role::Standby, Role::Leader];

impl Role {
    /// Its name in metrics and status.
    pub fn name(self) -> &'static str {
        match self {
            Role::Joining => "joining",
            Role::Standby => "standby",
            Role::Leader => "leader",
        }
    }
}
