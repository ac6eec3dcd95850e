package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/deploy"
	"github.com/reventless-go/reventless/aws/deploy/deploytest"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/lambdahost"
	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/internal/api"
)

// packaged returns the paths of the shop's zip for arm64, as make package builds it, and
// for this machine.
var packaged = sync.OnceValues(func() (paths [2]string, err error) {
	host, err := bootstrap()
	if err != nil {
		return paths, err
	}
	programs := [2]string{filepath.Join(dir, "arm64"), host}
	if err := build(programs[0], "arm64"); err != nil {
		return paths, err
	}
	for i, program := range programs {
		paths[i] = program + ".zip"
		cmd := exec.Command("go", "run", "-C", "../deploy", "./cmd/lambdazip", "-o", paths[i], program)
		cmd.Env = append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return paths, fmt.Errorf("lambdazip: %w\n%s", err, out)
		}
	}
	return paths, nil
})

// deployed is the shop on MiniStack with only the resources that its deploy program
// registered. MiniStack enforces the roles of the functions.
type deployed struct {
	*stack
	resources *deploytest.Resources
	recorder  *recorder
	api       string // the function that is called
}

// apply runs the deploy program of the shop for a new stack and creates on MiniStack
// what it registers, except the resources for which without returns true.
func apply(t testing.TB, without func(r deploytest.Resource) bool) *deployed {
	t.Helper()
	mini := awstest.MiniStackWithIAM(t)
	zips, err := packaged()
	if err != nil {
		t.Fatal(err)
	}
	d := &deployed{stack: stackOf(t, awstest.NewDeployment(t, shop.App().Topology(), mini, mini)), recorder: newRecorder()}
	a := newApplier(t, mini, zips[1], func(function string) string { return awstest.Proxy(t, mini.Endpoint, d.recorder.of(function)) })
	a.without = without
	d.resources, err = deploytest.Graph(func(ctx *pulumi.Context) error {
		app, err := deploy.NewApp(ctx, shop.App(), &deploy.AppArgs{Code: zips[0]})
		if err == nil {
			app.API.ApplyT(func(name string) string {
				d.api = name
				return name
			})
		}
		return err
	}, &deploytest.Options{Stack: d.Name, Account: awstest.Account, Region: awstest.Region, Create: a.create})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestShopAsDeployed creates only what the deploy program registers and replays the
// whole file on it. Everything that the functions use exists because the program
// registered it, under the name that they compute. Then the test exercises what the file
// does not cover. The roles must allow all requests, both in MiniStack and in this
// package's own evaluation of the policies; the log lists the unused rights.
func TestShopAsDeployed(t *testing.T) {
	began := time.Now()
	d := apply(t, nil)
	t.Logf("%d resources after %v", len(d.resources.All), time.Since(began))
	file := sample(t)
	d.send(commands(t, file))
	d.wait(expected(t, file))
	t.Logf("done after %v", time.Since(began))
	d.check(file)
	d.renew()
	t.Logf("read models rebuilt after %v", time.Since(began))
	d.check(file)
	d.callAPI(t)
	d.callTimers(t)
	d.importProducts(t)
	d.park(t)
	d.settle()
	t.Logf("all else done after %v", time.Since(began))
	d.recorder.checkGrants(t, d.resources, d.Name)
	checkServices(t, d.resources)
}

// ask invokes the function of the API.
func (d *deployed) ask(request lambdahost.Request) lambdahost.Response {
	d.t.Helper()
	payload, err := json.Marshal(request)
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := d.Others.Clients(nil).Lambda.Invoke(d.t.Context(), &lambda.InvokeInput{FunctionName: &d.api, Payload: payload})
	if err != nil {
		d.t.Fatal(err)
	}
	var r lambdahost.Response
	if err := json.Unmarshal(out.Payload, &r); err != nil || out.FunctionError != nil {
		d.t.Fatalf("%s: %s, %v", aws.ToString(out.FunctionError), out.Payload, err)
	}
	return r
}

func (d *deployed) call(field, arguments string) string {
	d.t.Helper()
	r := d.ask(lambdahost.Request{Operation: "call", Field: field, Arguments: json.RawMessage(arguments), Identity: lambdahost.Identity{User: "ada", Roles: []string{"Admin"}}})
	if r.Error != nil {
		d.t.Fatalf("%s: %+v", field, *r.Error)
	}
	return string(r.Data)
}

// callAPI calls operations of each kind.
func (d *deployed) callAPI(t *testing.T) {
	t.Helper()
	if got := d.call("Mutation.catalogCategoryAdd", `{"id":"garden","name":"Garden","commandId":"c1"}`); !strings.Contains(got, "CommandAccepted") {
		t.Errorf("the mutation is answered with %s", got)
	}
	d.until("the category can be queried", func() bool { return strings.Contains(d.call("Query.catalogCategory", `{"id":"garden"}`), "Garden") })
	for _, o := range shop.App().API().Operations {
		if o.Kind != api.Query {
			continue
		}
		arguments := map[string]any{}
		for _, arg := range o.Args {
			if arg.Type.NonNull {
				arguments[arg.Name] = "garden" // a key
			} else if arg.Name == "first" {
				arguments[arg.Name] = 10
			}
		}
		text, err := json.Marshal(arguments)
		if err != nil {
			t.Fatal(err)
		}
		d.call("Query."+o.Name, string(text))
	}
}

// renew rebuilds all read models.
func (d *deployed) renew() {
	d.t.Helper()
	for _, p := range d.App.Plugins {
		for _, c := range p.Components {
			if c.Kind != "ReadModel" {
				continue
			}
			for _, request := range []lambdahost.Request{{Operation: "clear", Component: c.Name}, {Operation: "catchUp", Component: c.Name}} {
				if r := d.ask(request); !r.Done {
					d.t.Errorf("%s %s: %+v", request.Operation, c.Name, r.Error)
				}
			}
		}
	}
}

// callTimers sends the messages that rules and schedules send.
func (d *deployed) callTimers(t *testing.T) {
	t.Helper()
	url := d.QueueURL(naming.Timers, "")
	for _, name := range []string{"declared/heartbeat/Catalog", "declared/heartbeat/Ordering", "declared/Ordering.DailySalesReport"} {
		body := `{"schedule":"` + name + `","due":"2011-12-01T06:00:00Z"}`
		if _, err := d.Others.Clients(nil).SQS.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
	d.until("there is a report", func() bool { return d.has("Ordering.Reports", "sales-2011-12-01.csv") })
	d.until("the plugins are known", func() bool {
		got := d.call("Query.platformPlugins", `{"first":10}`)
		return strings.Contains(got, "Catalog") && strings.Contains(got, "Ordering")
	})
}

// has reports whether a bucket has an object.
func (d *deployed) has(bucket, key string) bool {
	d.t.Helper()
	name := d.Resource(naming.Bucket, bucket)
	out, err := d.Others.Clients(nil).S3.ListObjectsV2(d.t.Context(), &s3.ListObjectsV2Input{Bucket: &name, Prefix: &key})
	if err != nil {
		d.t.Fatal(err)
	}
	return len(out.Contents) > 0
}

// importProducts puts a file into the bucket that a task watches.
func (d *deployed) importProducts(t *testing.T) {
	t.Helper()
	bucket, key := d.Resource(naming.Bucket, "Catalog.Imports"), "spring.csv"
	if _, err := d.Others.Clients(nil).S3.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: bytes.NewReader([]byte("productId,name,description,price\nspade,Spade,For digging.,1299\n")),
	}); err != nil {
		t.Fatal(err)
	}
	d.until("the product is imported", func() bool { return strings.Contains(d.call("Query.catalogProduct", `{"id":"spade"}`), "Spade") })
	d.until("its result file is written", func() bool { return d.has("Catalog.Imports", key+".result.txt") })
}

// park sends a message that is not a command and discards the dead letter.
func (d *deployed) park(t *testing.T) {
	t.Helper()
	url := d.QueueURL(naming.Commands, "Catalog.Category")
	if _, err := d.Others.Clients(nil).SQS.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: &url, MessageBody: aws.String("no command"), MessageGroupId: aws.String("x"), MessageDeduplicationId: aws.String("x"),
	}); err != nil {
		t.Fatal(err)
	}
	var letters []lambdahost.DeadLetter
	d.until("it is parked", func() bool {
		letters = d.ask(lambdahost.Request{Operation: "parked"}).DeadLetters
		return len(letters) > 0
	})
	d.ask(lambdahost.Request{Operation: "redrive", ID: letters[0].ID}) // it fails again
	if r := d.ask(lambdahost.Request{Operation: "discard", ID: letters[0].ID}); !r.Done {
		t.Errorf("it is not discarded: %+v", r.Error)
	}
}

// TestShopAsDeployedLacksWhatIsLeftOut omits a subscription and the policy of a
// function. The read models that depend on them must stay empty while all others are
// filled, which shows that the tests create nothing beyond what the program registers.
func TestShopAsDeployedLacksWhatIsLeftOut(t *testing.T) {
	left := []string{
		"aws:sns/topicSubscription:TopicSubscription shop-Ordering.CustomerTotals-of-Ordering.Order",
		"aws:iam/rolePolicy:RolePolicy shop-projections-Catalog",
	}
	d := apply(t, func(r deploytest.Resource) bool { return slices.Contains(left, r.String()) })
	for _, what := range left {
		if !slices.ContainsFunc(d.resources.All, func(r deploytest.Resource) bool { return r.String() == what }) {
			t.Fatalf("the program does not register %s", what)
		}
	}
	file := part(t, sample(t), func(invoice int) bool { return invoice%parts == 0 })
	want := expected(t, file)
	d.send(commands(t, file))
	var empty []string
	d.until("all other read models are filled", func() bool {
		empty = nil
		for _, found := range d.differences(want) {
			name, _, isEmpty := strings.Cut(found, " has 0 rows, ")
			if !isEmpty {
				return false
			}
			empty = append(empty, name)
		}
		return len(empty) <= 3
	})
	if fmt.Sprint(empty) != "[CustomerTotals PriceHistory Products]" {
		t.Errorf("%v are empty", empty)
	}
}

// If the applier ignored what it does not know, the tests could pass with a broken
// program.
func TestApplierRefusesWhatItDoesNotKnow(t *testing.T) {
	a := &applier{t: t}
	if _, _, err := a.create(deploytest.Resource{Type: "aws:sqs/queueOfTomorrow:Queue", Name: "q"}); err == nil {
		t.Error("it accepts an unknown type")
	}
	p := newProperties(map[string]any{"a": "x", "b": true, "c": map[string]any{"d": 1.0, "e": 2.0}, "f": []any{map[string]any{"g": "x"}}})
	p.text("a")
	p.flag("b")
	p.object("c").number("d")
	p.objects("f")
	if err := p.done(); err == nil || fmt.Sprint(err) != "the applier does not know the property c.e\nthe applier does not know the property f.g" {
		t.Errorf("the error about unread properties is %v", err)
	}
	p = newProperties(map[string]any{"a": 1.0})
	p.text("a")
	if p.done() == nil {
		t.Error("it accepts a number as a text")
	}
}
