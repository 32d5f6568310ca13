//! A private PostgreSQL server: found on the machine, run as an unprivileged user.
