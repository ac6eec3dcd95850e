package identity_test

import (
	"net/http"
	"testing"

	"github.com/reventless-go/reventless/local/internal/identity"
)

func TestLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"localhost:8080": true, "LocalHost:8080": true, "127.0.0.1:8080": true, "127.8.9.1:0": true, "[::1]:8080": true, "[::ffff:127.0.0.1]:1": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "192.168.1.2:8080": false, "example.com:80": false,
		"localhost.example.com:80": false, "127.0.0.1.example.com:80": false, "2130706433:80": false, "127.1:80": false,
		"localhost": false, "": false, "127.0.0.1": false, "::1:80": false,
	} {
		if err := identity.Loopback(addr); (err == nil) != want {
			t.Errorf("Loopback(%q) is %v, want loopback: %v", addr, err, want)
		}
	}
}

func TestLocalHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST:1": true, "127.0.0.1": true, "127.0.0.1:8080": true, "[::1]": true, "[::1]:8080": true,
		"": false, "evil.example": false, "evil.example:8080": false, "localhost.evil.example": false, "127.0.0.1.evil.example:80": false,
		"0.0.0.0:8080": false, "[::]:8080": false, "192.168.1.2": false, "[::1": false, "localhost:80:evil": false, "localhost@evil.example": false,
	} {
		r := &http.Request{Host: host}
		if got := identity.LocalHost(r); got != want {
			t.Errorf("LocalHost of %q is %v, want %v", host, got, want)
		}
	}
}
