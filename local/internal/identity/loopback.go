package identity

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Loopback returns an error unless only this machine can reach the address, HOST:PORT:
// its host must be localhost, in 127.0.0.0/8, or ::1. An empty host means all interfaces
// and is an error.
func Loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("identity: address %q: %w", addr, err)
	}
	if !loopback(host) {
		return fmt.Errorf("identity: other machines may be able to reach the address %q; use localhost", addr)
	}
	return nil
}

// LocalHost reports whether the Host header of a request is localhost or a loopback
// address. It detects DNS rebinding: the domain of a foreign page can resolve to this
// machine, which makes the page same-origin, but the Host header still has that domain.
// For a WebSocket the Origin must be checked as well, because browsers allow any page to
// open one.
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
