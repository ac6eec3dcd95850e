package lambdahost

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
)

// ask invokes the API function.
func (f *function) ask(request string) Response {
	f.t.Helper()
	return f.askIn(f.t.Context(), request)
}

func (f *function) askIn(ctx context.Context, request string) Response {
	f.t.Helper()
	answer, err := f.Invoke(ctx, []byte(request))
	if err != nil {
		f.t.Fatal(err)
	}
	var r Response
	if err := json.Unmarshal(answer, &r); err != nil {
		f.t.Fatal(err)
	}
	return r
}

func TestCalls(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.start("api", nil)
	ctx := context.WithValue(t.Context(), "x-amzn-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1") //nolint:staticcheck // the key is the Lambda runtime's
	r := f.askIn(ctx, `{"operation":"call","field":"Mutation.pBoxPut","arguments":{"id":"a","n":7,"note":"a secret"},"identity":{"user":"ada"},"idempotencyKey":"key-1"}`)
	if r.Error != nil || !strings.Contains(string(r.Data), `"CommandAccepted"`) {
		t.Fatalf("the answer is %s, %+v", r.Data, r.Error)
	}
	again := f.ask(`{"operation":"call","field":"Mutation.pBoxPut","arguments":{"id":"a","n":7,"note":"a secret"},"identity":{"user":"ada"},"idempotencyKey":"key-1"}`)
	if string(again.Data) != string(r.Data) || f.commits("P.Box", "a") != 1 {
		t.Errorf("the answer to the repeated key is %s", again.Data)
	}
	log, _ := f.host.EventLog("P.Box")
	for c, err := range log.Read(t.Context(), "a", 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if m := c.Commands[0].Meta; m.User != "ada" || m.TraceParent != "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01" {
			t.Errorf("the meta is %+v, want the user and the trace of the invocation", m)
		}
	}
	projections := s.start("projections/P", nil)
	projections.handles(records(s.change(f, "P.Box", "a", 1, "100")))
	if r := f.ask(`{"operation":"call","field":"Query.pBox","arguments":{"id":"a"},"identity":{"user":"ada"}}`); string(r.Data) != `{"id":"a","sum":7}` {
		t.Errorf("the row is %s, %+v", r.Data, r.Error)
	}
	for request, code := range map[string]string{
		`{"operation":"call","field":"Query.pBox","arguments":{"id":"a"}}`:                                                       "UNAUTHENTICATED",
		`{"operation":"call","field":"Mutation.pBoxClose","arguments":{"id":"a"},"identity":{"user":"ada"}}`:                     "FORBIDDEN",
		`{"operation":"call","field":"Query.nothing"}`:                                                                           "BAD_USER_INPUT",
		`{"operation":"call","field":"Subscription.pBoxChanged","identity":{"user":"ada"}}`:                                      "BAD_USER_INPUT",
		`{"operation":"call","field":"Query.pBox","arguments":{"id":"a","more":1},"identity":{"user":"ada"}}`:                    "BAD_USER_INPUT",
		`{"operation":"call","field":"Query.pBox","arguments":[],"identity":{"user":"ada"}}`:                                     "BAD_USER_INPUT",
		`{"operation":"call","field":"Mutation.pBoxPut","arguments":{"id":"b","n":"seven","note":""},"identity":{"user":"ada"}}`: "BAD_USER_INPUT",
		`{"operation":"dance"}`:                     "BAD_USER_INPUT",
		`{"operation":"parked","componnt":"P.Box"}`: "BAD_USER_INPUT",
		`no JSON`:                                "BAD_USER_INPUT",
		`{"operation":"send"}`:                   "BAD_USER_INPUT",
		`{"operation":"redrive","id":"nothing"}`: "NOT_FOUND",
		`{"operation":"send","command":` + put("P.Nothing", "a", "c", 1) + `}`: "NOT_FOUND",
	} {
		if r := f.ask(request); r.Error == nil || r.Error.Code != code {
			t.Errorf("%s: %+v, want %s", request, r.Error, code)
		}
	}
	if strings.Contains(f.out.String(), "a secret") {
		t.Error("a payload is in the log")
	}
}

// The invocation returns the outcome of a command. Dead letters can be listed, redriven and
// discarded.
func TestSendAndDeadLetters(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.start("api", nil)
	send := func(command string) Response { return f.ask(`{"operation":"send","command":` + command + `}`) }
	if r := send(put("P.Jar", "a", "c1", 1)); r.Outcome == nil || r.Outcome.Kind != driver.Accepted || r.Outcome.SequenceNr != 1 {
		t.Errorf("the answer is %+v, %+v", r.Outcome, r.Error)
	}
	if r := send(commandOf("P.Jar", "a", "c2", "Refuse", "{}")); r.Outcome == nil || r.Outcome.Kind != driver.Rejected || r.Outcome.Code != "No" {
		t.Errorf("the answer is %+v, %+v", r.Outcome, r.Error)
	}
	s.start("commands/P", nil).handles(records(
		s.messageOf(naming.Commands, "P.Jar", "m1", "a", "no JSON"),
		s.messageOf(naming.Commands, "P.Jar", "m2", "b", commandOf("P.Jar", "b", "c3", "Explode", "{}")),
	))
	r := f.ask(`{"operation":"parked"}`)
	if len(r.DeadLetters) != 2 {
		t.Fatalf("the dead letters are %+v, %+v", r.DeadLetters, r.Error)
	}
	if more := f.ask(fmt.Sprintf(`{"operation":"parked","component":"P.Jar","after":%q}`, r.DeadLetters[0].ID)); len(more.DeadLetters) != 1 || more.DeadLetters[0] != r.DeadLetters[1] {
		t.Errorf("after the first dead letter: %+v", more.DeadLetters)
	}
	for _, l := range r.DeadLetters {
		if again := f.ask(fmt.Sprintf(`{"operation":"redrive","id":%q}`, l.ID)); again.Done || again.Error == nil {
			t.Errorf("%s was redriven without an error", l.ID)
		}
		if gone := f.ask(fmt.Sprintf(`{"operation":"discard","id":%q}`, l.ID)); !gone.Done {
			t.Errorf("%s: %+v", l.ID, gone.Error)
		}
	}
	if r := f.ask(`{"operation":"parked"}`); len(r.DeadLetters) != 0 || r.Error != nil {
		t.Errorf("the dead letters are %+v, %+v", r.DeadLetters, r.Error)
	}
}

// A read model that missed records dropped by the event source mapping catches up on
// request.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.fill(s.start("commands/P", nil), "a", 1, 2, 3)
	f := s.start("api", nil)
	ask := func(stream string) Response {
		return f.ask(`{"operation":"catchUp","component":"P.Boxes","log":"P.Box","stream":"` + stream + `"}`)
	}
	for range 2 {
		if r := ask("a"); !r.Done {
			t.Errorf("the answer is %+v", r.Error)
		}
		if got := f.row("P.Boxes", "a"); got != `{"id":"a","sum":6}` {
			t.Errorf("the row is %s", got)
		}
	}
	if r := ask("unknown"); !r.Done {
		t.Errorf("a stream without commits: %+v", r.Error)
	}
	if r := f.ask(`{"operation":"catchUp","component":"P.Boxes","log":"P.Jar","stream":"a"}`); r.Error == nil || r.Error.Code != "NOT_FOUND" {
		t.Errorf("a log that is not a source: %+v", r.Error)
	}
	s.fill(s.start("commands/P", nil), "b", 1, poison)
	if r := ask("b"); r.Done || len(f.letters("P.Boxes")) != 1 {
		t.Errorf("a stream with a poison commit: done %v, parked %q", r.Done, f.letters("P.Boxes"))
	}
}

// A read model is rebuilt by clearing it and catching up with all segments of its logs, in
// any order and more than once.
func TestRebuild(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	commands := s.start("commands/P", nil)
	for i := range 20 {
		s.fill(commands, fmt.Sprint("box", i), 1, 2)
	}
	f := s.start("api", nil)
	ask := func(format string, args ...any) Response { return f.ask(fmt.Sprintf(format, args...)) }
	for round := range 2 {
		for _, segment := range []int{2, 0, 1, 2} {
			if r := ask(`{"operation":"catchUp","component":"P.BoxTotal","segment":%d,"segments":3}`, segment); !r.Done {
				t.Fatalf("round %d: %+v", round, r.Error)
			}
		}
		if got := f.row("P.BoxTotal", "all"); got != `{"id":"all","sum":60}` {
			t.Errorf("round %d: the row is %s", round, got)
		}
		if r := ask(`{"operation":"clear","component":"P.BoxTotal"}`); !r.Done {
			t.Fatal(r.Error)
		}
		if got := f.row("P.BoxTotal", "all"); got != "none" {
			t.Errorf("the row after clear is %s", got)
		}
	}
	for request, code := range map[string]string{
		`{"operation":"catchUp","component":"P.Jar"}`:                               "NOT_FOUND",
		`{"operation":"catchUp","component":"P.BoxTotal","segment":3,"segments":3}`: "BAD_USER_INPUT",
		`{"operation":"clear","component":"P.Forward"}`:                             "NOT_FOUND",
	} {
		if r := f.ask(request); r.Error == nil || r.Error.Code != code {
			t.Errorf("%s: %+v, want %s", request, r.Error, code)
		}
	}
}

// The causes of internal errors are in the log and not in the response.
func TestInternalErrorsAreMasked(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.start("api", awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Internal, Operations: []string{"DynamoDB.*"}, Probability: 1}))
	r := f.ask(`{"operation":"call","field":"Query.pBox","arguments":{"id":"a"},"identity":{"user":"ada"}}`)
	if r.Error == nil || r.Error.Code != "UNAVAILABLE" || strings.Contains(r.Error.Message, "DynamoDB") {
		t.Errorf("the answer is %+v", r.Error)
	}
	if !strings.Contains(f.out.String(), "DynamoDB") {
		t.Errorf("the cause is not in the log: %s", f.out)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"REVENTLESS_FUNCTION": "commands/P", "REVENTLESS_STACK": "dev", "REVENTLESS_ACCOUNT": "000000000000",
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
	}
	start := func(env map[string]string) (served bool, code int, out string) {
		var o output
		system{func(name string) string { return env[name] }, &o, func(c int) { code = c }, func(lambda.Handler) { served = true }}.start(app(), nil)
		return served, code, o.String()
	}
	if served, code, out := start(good); !served || code != 0 || out != "" {
		t.Errorf("served %v, code %d, %s", served, code, out)
	}
	for name, value := range map[string]string{
		"REVENTLESS_FUNCTION": "", "REVENTLESS_STACK": "", "REVENTLESS_ACCOUNT": "", "AWS_REGION": "", "REVENTLESS_FUNCTION ": "commands/Nothing", "REVENTLESS_STACK ": "no stack",
	} {
		env := map[string]string{}
		for k, v := range good {
			env[k] = v
		}
		env[strings.TrimSpace(name)] = value
		served, code, out := start(env)
		if served || code != 1 || !strings.Contains(out, `"ERROR"`) || value == "" && !strings.Contains(out, name) {
			t.Errorf("%s=%q: served %v, code %d, %s", name, value, served, code, out)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_SQS": "http://queues"}
	getenv := func(name string) string { return env[name] }
	cfg, err := fromEnvironment(getenv)
	if err != nil || cfg.Region != "eu-central-1" {
		t.Fatal(cfg.Region, err)
	}
	if _, err := cfg.Credentials.Retrieve(t.Context()); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("without credentials: %v", err)
	}
	env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"] = "k", "s", "t"
	if c, err := cfg.Credentials.Retrieve(t.Context()); err != nil || c.SessionToken != "t" {
		t.Errorf("the credentials are %v, %v", c, err)
	}
	at := endpoint(getenv)
	if *at("SQS") != "http://queues" || *at("DYNAMODB") != "http://all" {
		t.Errorf("the endpoints are %s and %s", *at("SQS"), *at("DYNAMODB"))
	}
	delete(env, "AWS_ENDPOINT_URL")
	if at("SNS") != nil {
		t.Error("an unset variable has an endpoint")
	}
	if tr := cfg.HTTPClient.(*http.Client).Transport.(*http.Transport); tr.ResponseHeaderTimeout == 0 || tr.TLSHandshakeTimeout == 0 {
		t.Error("requests have no timeouts")
	}
}

func TestTraceParentFromXRay(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1":   "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
		"Sampled=0; Root=1-5759e988-bd862e3fe1be46a994272793; Parent=53995c3f42cd8ad8": "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00",
		"Root=1-5759e988-bd862e3fe1be46a994272793":                                     "",
		"Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8":             "",
		"Root=1-xyz;Parent=53995c3f42cd8ad8":                                           "",
		"":                                                                             "", ";;=": "",
	} {
		if got := fromXRay(header); got != want {
			t.Errorf("%q is %q, want %q", header, got, want)
		}
	}
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]int{"": 3, "DEBUG": 4, "INFO": 3, "WARN": 2, "ERROR": 1, "FATAL": 1} {
		var o output
		l := newLogger(&o, func(string) string { return level })
		l.Debug("d")
		l.Info("i")
		l.Warn("w")
		l.Error("e", "key", "value")
		lines := o.lines(t)
		if len(lines) != want {
			t.Errorf("at %q there are %d lines, want %d", level, len(lines), want)
		}
		if last := lines[len(lines)-1]; last["message"] != "e" || last["level"] != "ERROR" || last["timestamp"] == nil || last["key"] != "value" {
			t.Errorf("the line is %v", last)
		}
	}
}

// Lambda ends the process of a function that returns more than 6 MB.
func TestResponseOverTheLimitOfLambdaIsAnError(t *testing.T) {
	t.Parallel()
	const around = len(`{"data":""}`)
	for size, code := range map[int]string{maxResponse - around: "", maxResponse - around + 1: "PAGE_TOO_LARGE", 10 << 20: "PAGE_TOO_LARGE"} {
		text, err := bounded(&Response{Data: json.RawMessage(`"` + strings.Repeat("x", size) + `"`)})
		var r Response
		if err != nil || len(text) > maxResponse || json.Unmarshal(text, &r) != nil {
			t.Fatalf("%d bytes: a response of %d bytes, %v", size, len(text), err)
		}
		if code != "" && (r.Error == nil || r.Error.Code != code) || code == "" && r.Error != nil {
			t.Errorf("%d bytes: the error is %+v, want the code %q", size, r.Error, code)
		}
	}
}
