package identity

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Loopback returns an error unless the address, HOST:PORT, is one that only this
// machine reaches: localhost, 127.0.0.0/8 or ::1. An empty host is all interfaces.
func Loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("identity: address %q: %w", addr, err)
	}
	if !loopback(host) {
		return fmt.Errorf("identity: address %q may be reached from other machines; use localhost", addr)
	}
	return nil
}

// LocalHost reports whether a request was addressed to localhost or a loopback
// address, by its Host header. Any page in a browser can have its own name resolve
// to this machine and then counts as being from here (DNS rebinding); the name is
// what gives it away. Whether a WebSocket's Origin is the Host is another question,
// to be asked as well: browsers let any page open one.
func LocalHost(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil { // no port
		host = r.Host
		if bare, ok := strings.CutPrefix(host, "["); ok {
			if host, ok = strings.CutSuffix(bare, "]"); !ok {
				return false
			}
		}
	}
	return loopback(host)
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
