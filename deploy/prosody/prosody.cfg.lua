-- Prosody 13 for the agents of Locution: one domain, no federation, no open registration.

local domain = "localhost"

pidfile = "/tmp/prosody.pid"
data_path = "/var/lib/prosody"
admins = {}
log = { info = "*console" }

-- 5222 for clients, 5280 for Prometheus; the first alone is published, on loopback.
interfaces = { "*" }
c2s_ports = { 5222 }
c2s_direct_tls_ports = {}
s2s_ports = {}
http_ports = { 5280 }
http_interfaces = { "*" }
https_ports = {}

modules_enabled = {
    "saslauth"; "tls"; "roster"; "disco"; "presence"; "message"; "iq"; "ping"; "offline"; "blocklist";
    "smacks";            -- a connection that breaks loses nothing (XEP-0198)
    "mam";               -- what was said is kept, for audits (XEP-0313)
    "limits";
    "http_openmetrics";  -- /metrics
    "admin_shell";       -- what prosodyctl speaks with, by a socket inside of the container
}
modules_disabled = { "s2s"; "register"; "register_ibr" }
allow_registration = false

-- The service `setup` has made the accounts; what is stored of a password is a salted hash.
authentication = "internal_hashed"
storage = "internal"

-- TLS, and nothing without it. The certificate is signed by the society's own authority.
c2s_require_encryption = true
allow_unencrypted_plain_auth = false
certificates = "/run/secrets"
ssl = {
    certificate = "/run/secrets/server.pem";
    key = "/run/secrets/server.pem";
    protocol = "tlsv1_2+";
}

-- Otherwise a pair of replies waits 40 ms, and 200 KB of a model's rows take 20 s.
network_settings = { nagle = false }
limits = { c2s = { rate = "10mb/s"; burst = "2s" } }

-- Otherwise the server asks after each stanza whether it was handled, and each costs two.
smacks_max_unacked_stanzas = 20
-- A replica that is started anew takes over its own address, and what the one before has not read.
conflict_resolve = "kick_old"

-- For audits: what agents say to each other, for a week.
default_archive_policy = true
archive_expires_after = "1w"
max_archive_query_results = 250

statistics = "internal"
statistics_interval = "manual"  -- counted when Prometheus asks
openmetrics_allow_cidr = "0.0.0.0/0"  -- the port is not published
http_default_host = domain

VirtualHost(domain)

Component("pubsub." .. domain) "pubsub"
    modules_enabled = {}
    expose_publisher = true
    add_permissions = { ["prosody:registered"] = { "pubsub:create-node" } }

Component("conference." .. domain) "muc"
    restrict_room_creation = false
    modules_enabled = { "muc_mam" }
    muc_log_expires_after = "1w"
