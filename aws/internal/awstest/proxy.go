package awstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// asked is the context key of the operation of a request to [Proxy].
type asked struct{}

// Proxy returns an endpoint that forwards requests to another one through transport, a
// [Counter] or [Faults]. It is for clients in other processes. If transport fails, it
// closes the connection.
//
// Operations have the names of [Operation], except for services whose requests name no
// target or action. Their operations are named after the method: "S3.PUT",
// "Scheduler.POST".
func Proxy(t testing.TB, endpoint string, transport http.RoundTripper) string {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // the signature covers it
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = c.Close()
			}
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err := errors.Join(err, r.Body.Close()); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), asked{}, operationOf(r, body))))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// operationOf returns the operation of a request that was received over the network.
func operationOf(r *http.Request, body []byte) string {
	if prefix, operation, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		service, _, _ := strings.Cut(strings.TrimPrefix(prefix, "Amazon"), "_") // DynamoDB_20120810, AmazonSQS
		return service + "." + operation
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		if form, err := url.ParseQuery(string(body)); err == nil && form.Has("Action") {
			return "SNS." + form.Get("Action")
		}
	}
	if strings.HasPrefix(r.URL.Path, "/schedules") {
		return "Scheduler." + r.Method
	}
	return "S3." + r.Method
}
