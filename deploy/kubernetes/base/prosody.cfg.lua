-- Prosody for the agents of one society: logins over TLS, no other servers, no registration by strangers.
data_path = "/var/lib/prosody"
pidfile = "/run/prosody/prosody.pid"
log = { info = "*console" }

interfaces = { "*" }
c2s_ports = { 5222 }
s2s_ports = {}
http_ports = {}
https_ports = {}
modules_enabled = {
    "roster"; "saslauth"; "tls"; "disco"; "ping"; "offline"; "presence"; "message"; "iq"; "smacks"; "limits";
}
modules_disabled = { "s2s" }
allow_registration = false
authentication = "internal_hashed"
storage = "internal"
c2s_require_encryption = true
certificates = "/etc/prosody-tls"
ssl = { key = "/etc/prosody-tls/tls.key"; certificate = "/etc/prosody-tls/tls.crt" }

-- Otherwise a pair of replies waits 40 ms, and 200 KB take 20 s.
network_settings = { nagle = false }
limits = { c2s = { rate = "10mb/s" } }
-- Otherwise the server asks after each stanza whether it was handled, and each costs two.
smacks_max_unacked_stanzas = 20

VirtualHost "locution.internal"

Component "pubsub.locution.internal" "pubsub"
expose_publisher = true
add_permissions = { ["prosody:registered"] = { "pubsub:create-node" } }
