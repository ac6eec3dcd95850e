package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/deploy"
	"github.com/reventless-go/reventless/aws/deploy/deploytest"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/provider"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/topology"
)

// refused responds to every request with an error and records the permissions that the
// request needs.
type refused struct{ *recorder }

// Do implements [aws.HTTPClient].
func (r refused) Do(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
	}
	r.record("", request, body, http.StatusBadRequest)
	return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte(`{"__type":"ValidationException"}`)))}, nil
}

// TestDeployedNamesMatchTheRuntime opens every granted driver and makes it send a request,
// which reaches no service. The request must name a resource that the deploy program
// registers.
func TestDeployedNamesMatchTheRuntime(t *testing.T) {
	t.Parallel()
	const stack = "dev"
	g, err := deploytest.Graph(func(ctx *pulumi.Context) error {
		_, err := deploy.NewApp(ctx, shop.App(), &deploy.AppArgs{Code: filepath.Join("..", "deploy", "testdata", "lambda.zip")})
		return err
	}, &deploytest.Options{Stack: stack, Account: awstest.Account, Region: awstest.Region})
	if err != nil {
		t.Fatal(err)
	}
	exists := registered(g)

	asked := refused{newRecorder()}
	cfg := (&awstest.Emulator{}).Config(nil)
	cfg.BaseEndpoint, cfg.HTTPClient = aws.String("http://localhost"), asked
	app := shop.App().Topology()
	p, err := provider.New(provider.Options{App: app.Name, Stack: stack, Account: awstest.Account, AWS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	grants := []topology.Grant{{Driver: "DeadLetters"}, {Driver: "Outcomes"}, {Driver: "Scheduler"}}
	for _, plugin := range app.Plugins {
		for _, c := range plugin.Components {
			grants = append(grants, c.Grants...)
			if c.Kind == "ReadModel" {
				grants = append(grants, topology.Grant{Driver: "QueryEngine", Component: c.Name})
			}
		}
	}
	for _, r := range app.Routes(wiring.MaxFeedReaders) {
		if r.Topic {
			grants = append(grants, topology.Grant{Driver: "EventTopic", Component: r.Log})
		}
	}
	for _, grant := range grants {
		if grant.Driver == "EventCollector" {
			continue // it sends no request: Lambda invokes a function with the records
		}
		clear(asked.used)
		touch(t, p, app, grant)
		for r := range asked.used[""] {
			if arn := ownerOf(r.resource); !exists[arn] {
				t.Errorf("the %s of %q sent a request for %s, which is not registered", grant.Driver, grant.Component, arn)
			}
		}
		if len(asked.used) == 0 {
			t.Errorf("the %s of %q sent no request", grant.Driver, grant.Component)
		}
	}
	for what := range asked.unknown {
		t.Error(what)
	}
	for _, f := range wiring.Functions(app, wiring.Shared) {
		for _, trigger := range f.Triggers {
			name, err := p.Name(trigger.Source, trigger.Component)
			if err != nil {
				t.Fatal(err)
			}
			arn := awstest.ARN("sqs", name)
			if trigger.Stream() {
				arn = awstest.ARN("dynamodb", "table/"+name)
			}
			if !exists[arn] {
				t.Errorf("%s has the trigger %s, which is not registered", f, arn)
			}
		}
	}
}

// registered returns the ARNs of the registered resources that functions can use.
func registered(g *deploytest.Resources) map[string]bool {
	exists := map[string]bool{}
	for _, r := range g.All {
		name, _ := r.Inputs["name"].(string)
		switch r.Type {
		case "aws:dynamodb/table:Table":
			exists[awstest.ARN("dynamodb", "table/"+name)] = true
		case "aws:sqs/queue:Queue":
			exists[awstest.ARN("sqs", name)] = true
		case "aws:sns/topic:Topic":
			exists[awstest.ARN("sns", name)] = true
		case "aws:s3/bucket:Bucket":
			exists[fmt.Sprint("arn:aws:s3:::", r.Inputs["bucket"])] = true
		case "aws:scheduler/scheduleGroup:ScheduleGroup":
			exists[awstest.ARN("scheduler", "schedule/"+name)] = true
		case "aws:iam/role:Role":
			exists["arn:aws:iam::"+awstest.Account+":role/"+name] = true
		}
	}
	return exists
}

// ownerOf returns the ARN of the resource that an object, an index or a schedule belongs
// to. Any other ARN is returned unchanged.
func ownerOf(arn string) string {
	parts := strings.Split(arn, "/")
	if strings.HasPrefix(arn, "arn:aws:s3:") {
		return parts[0]
	}
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// touch makes the driver of a grant send a request, which is refused.
func touch(t *testing.T, p *provider.Provider, app topology.App, grant topology.Grant) {
	t.Helper()
	ctx, name := t.Context(), grant.Component
	done := func(err error, ask func() error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s of %q: %v", grant.Driver, name, err)
		}
		if ask() == nil {
			t.Errorf("the %s of %q received no error", grant.Driver, name)
		}
	}
	stream := driver.StreamKey{Log: "Catalog.Product", Stream: "x"}
	meta := driver.Meta{ID: "x", Time: time.Unix(0, 0).UTC()}
	switch grant.Driver {
	case "EventLog":
		log, err := p.OpenEventLog(ctx, name)
		done(err, func() error {
			for _, err := range log.Read(ctx, "x", 0, 0) {
				return err
			}
			return nil
		})
	case "CommandTopic":
		topic, err := p.OpenCommandTopic(ctx, name)
		done(err, func() error {
			return topic.Send(ctx, []driver.Command{{Target: name, Entity: "x", Type: "X", Version: 1, Data: json.RawMessage("{}"), Meta: meta}})
		})
	case "EventTopic":
		topic, err := p.OpenEventTopic(ctx, driver.TopicSpec{Log: name})
		done(err, func() error {
			return topic.Publish(ctx, []driver.Envelope{{Log: name, Commit: driver.Commit{
				Stream: "x", SequenceNr: 1, Events: []driver.Event{{Type: "X", Version: 1, Data: json.RawMessage("{}")}}, Commands: []driver.AnsweredCommand{{Meta: meta, EventCount: 1}},
			}}})
		})
	case "Watermarks":
		watermarks, err := p.OpenWatermarks(ctx, name)
		done(err, func() error {
			_, err := watermarks.Watermark(ctx, stream)
			return err
		})
	case "QueryDb":
		db, err := p.OpenQueryDb(ctx, specOf(app, name))
		done(err, func() error {
			_, err := db.Load(ctx, "x")
			if err != nil {
				_, err = db.Watermark(ctx, stream)
			}
			return err
		})
	case "QueryEngine":
		engine, err := p.OpenQueryEngine(ctx, []driver.TableSpec{specOf(app, name)})
		done(err, func() error {
			_, err := engine.Scan(ctx, driver.Scan{ReadModel: name, Order: &driver.Order{}, Limit: 1})
			return err
		})
	case "Counter":
		counter, err := p.OpenCounter(ctx, name)
		done(err, func() error { return counter.Count(ctx, "x", "y", 1) })
	case "Scheduler":
		s, err := p.OpenScheduler(ctx)
		done(err, func() error {
			return s.Create(ctx, driver.Schedule{Name: "x", Expression: "at(2999-01-01T00:00:00)", Payload: json.RawMessage("{}")})
		})
	case "Bucket":
		bucket, err := p.OpenBucket(ctx, name)
		done(err, func() error { return bucket.Delete(ctx, "x") })
	case "DeadLetters":
		letters, err := p.OpenDeadLetters(ctx)
		done(err, func() error {
			_, err := letters.Get(ctx, "x")
			return err
		})
	case "Outcomes":
		outcomes, err := p.OpenOutcomes(ctx)
		done(err, func() error {
			_, err := outcomes.Get(ctx, "x", "x")
			return err
		})
	default:
		t.Fatalf("no request is defined for the driver %s", grant.Driver)
	}
}

// specOf returns a table spec with only the fields on which resource names depend.
func specOf(app topology.App, name string) driver.TableSpec {
	for _, p := range app.Plugins {
		if i := slices.IndexFunc(p.Components, func(c topology.Component) bool { return c.Name == name }); i >= 0 {
			return driver.TableSpec{Name: name, OwnRow: p.Components[i].OwnRow}
		}
	}
	return driver.TableSpec{Name: name}
}
