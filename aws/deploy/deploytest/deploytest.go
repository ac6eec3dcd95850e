// Package deploytest runs a deploy program without a Pulumi engine and without AWS, and
// returns the resources that it registered.
package deploytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"google.golang.org/protobuf/types/known/structpb"
)

// Unknown is the value of a property that a preview does not know.
const Unknown = "<unknown>"

// Options configure the environment of a program. The comments show the defaults.
type Options struct {
	Project string // "shop"
	Stack   string // "dev"
	Account string // "123456789012"
	Region  string // "eu-central-1"
	// Preview runs the program as pulumi preview does: no resource is created, and the
	// outputs of resources are unknown.
	Preview bool
	// Create, if not nil, creates each resource that is not a component resource, after
	// its dependencies. It returns the id and the outputs, such as "arn", in addition to
	// the inputs. Independent resources are created concurrently. If Create is nil,
	// ids and outputs are invented.
	Create func(r Resource) (id string, outputs map[string]any, err error)
	// Config is the stack's configuration.
	Config map[string]string
}

// Resource is a registered resource.
type Resource struct {
	Type   string
	Name   string
	Parent string // type and name; empty for the stack
	// Inputs are JSON values; an archive is represented by its path.
	Inputs map[string]any
	// DependsOn are types and names. They include the resources whose outputs are
	// inputs.
	DependsOn []string
	Protect   bool
	Custom    bool // not a component resource
}

// String returns the type and the name, which identify a resource.
func (r Resource) String() string { return r.Type + " " + r.Name }

// Resources is the result of running a program.
type Resources struct {
	All []Resource // ordered by type and name
	Log []string   // "info: ..." and so on, in order
}

// Graph runs a program and returns the program's error.
func Graph(program pulumi.RunFunc, opts *Options) (*Resources, error) {
	o := Options{}
	if opts != nil {
		o = *opts
	}
	for field, value := range map[*string]string{&o.Project: "shop", &o.Stack: "dev", &o.Account: "123456789012", &o.Region: "eu-central-1"} {
		if *field == "" {
			*field = value
		}
	}
	m := &monitor{opts: o}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		ctx.Log = m
		return program(ctx)
	}, pulumi.WithMocks(o.Project, o.Stack, m), func(info *pulumi.RunInfo) {
		info.DryRun = o.Preview
		info.Config = o.Config
	})
	slices.SortFunc(m.done.All, func(a, b Resource) int { return strings.Compare(a.String(), b.String()) })
	return &m.done, err
}

// monitor replaces the Pulumi engine.
type monitor struct {
	opts Options
	mu   sync.Mutex
	done Resources
}

var (
	_ pulumi.MockResourceMonitor = (*monitor)(nil)
	_ pulumi.Log                 = (*monitor)(nil)
)

// NewResource implements [pulumi.MockResourceMonitor].
func (m *monitor) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	// args.Inputs lacks unknown properties.
	inputs, err := jsonInputs(args.RegisterRPC.GetObject())
	if err != nil {
		return "", nil, err
	}
	r := Resource{
		Type: args.TypeToken, Name: args.Name, Parent: label(args.RegisterRPC.GetParent()),
		Inputs: inputs, Protect: args.RegisterRPC.GetProtect(), Custom: args.Custom,
	}
	for _, urn := range args.RegisterRPC.GetDependencies() {
		r.DependsOn = append(r.DependsOn, label(urn))
	}
	slices.Sort(r.DependsOn)
	r.DependsOn = slices.Compact(r.DependsOn)
	m.mu.Lock()
	m.done.All = append(m.done.All, r)
	m.mu.Unlock()
	state := args.Inputs.Copy()
	if m.opts.Preview || !args.Custom {
		return "", state, nil
	}
	create := m.opts.Create
	if create == nil {
		create = m.invent
	}
	id, outputs, err := create(r)
	if err != nil {
		return "", nil, fmt.Errorf("create %s: %w", r, err)
	}
	for k, v := range outputs {
		state[resource.PropertyKey(k)] = resource.NewPropertyValue(v)
	}
	return id, state, nil
}

// Call implements [pulumi.MockResourceMonitor].
func (m *monitor) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	switch args.Token {
	case "aws:index/getCallerIdentity:getCallerIdentity":
		return resource.NewPropertyMapFromMap(map[string]any{"accountId": m.opts.Account}), nil
	case "aws:index/getRegion:getRegion":
		return resource.NewPropertyMapFromMap(map[string]any{"region": m.opts.Region}), nil
	case "aws:index/getPartition:getPartition":
		return resource.NewPropertyMapFromMap(map[string]any{"partition": "aws"}), nil
	}
	return nil, fmt.Errorf("deploytest has no result for the function %s", args.Token)
}

// invent returns an id and outputs for a resource.
func (m *monitor) invent(r Resource) (string, map[string]any, error) {
	name, _ := r.Inputs["name"].(string)
	arn := func(service, resource string) string {
		return "arn:aws:" + service + ":" + m.opts.Region + ":" + m.opts.Account + ":" + resource
	}
	global := func(service, resource string) string {
		return "arn:aws:" + service + "::" + m.opts.Account + ":" + resource
	}
	switch r.Type {
	case "aws:dynamodb/table:Table":
		out := map[string]any{"arn": arn("dynamodb", "table/"+name)}
		if r.Inputs["streamEnabled"] == true {
			out["streamArn"] = arn("dynamodb", "table/"+name+"/stream/2026-01-01T00:00:00.000")
		}
		return name, out, nil
	case "aws:sqs/queue:Queue":
		url := "https://sqs." + m.opts.Region + ".amazonaws.com/" + m.opts.Account + "/" + name
		return url, map[string]any{"url": url, "arn": arn("sqs", name)}, nil
	case "aws:sns/topic:Topic":
		return arn("sns", name), map[string]any{"arn": arn("sns", name)}, nil
	case "aws:s3/bucket:Bucket":
		bucket, _ := r.Inputs["bucket"].(string)
		return bucket, map[string]any{"arn": "arn:aws:s3:::" + bucket}, nil
	case "aws:iam/role:Role":
		return name, map[string]any{"arn": global("iam", "role/"+name)}, nil
	case "aws:iam/policy:Policy":
		return global("iam", "policy/"+r.Name), map[string]any{"arn": global("iam", "policy/"+r.Name)}, nil
	case "aws:lambda/function:Function":
		return name, map[string]any{"arn": arn("lambda", "function:"+name)}, nil
	case "aws:lambda/eventSourceMapping:EventSourceMapping":
		return "uuid-of-" + r.Name, map[string]any{"uuid": "uuid-of-" + r.Name}, nil
	case "aws:cloudwatch/logGroup:LogGroup":
		return name, map[string]any{"arn": arn("logs", "log-group:"+name)}, nil
	case "aws:cloudwatch/eventRule:EventRule":
		return name, map[string]any{"arn": arn("events", "rule/"+name)}, nil
	}
	return r.Name, nil, nil
}

// Debug implements [pulumi.Log].
func (m *monitor) Debug(msg string, _ *pulumi.LogArgs) error { return m.log("debug", msg) }

// Info implements [pulumi.Log].
func (m *monitor) Info(msg string, _ *pulumi.LogArgs) error { return m.log("info", msg) }

// Warn implements [pulumi.Log].
func (m *monitor) Warn(msg string, _ *pulumi.LogArgs) error { return m.log("warning", msg) }

// Error implements [pulumi.Log].
func (m *monitor) Error(msg string, _ *pulumi.LogArgs) error { return m.log("error", msg) }

func (m *monitor) log(severity, msg string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done.Log = append(m.done.Log, severity+": "+msg)
	return nil
}

// label returns the type and name in a URN; empty for the stack.
func label(urn string) string {
	u := resource.URN(urn)
	if urn == "" || u.Type() == resource.RootStackType {
		return ""
	}
	return string(u.Type()) + " " + u.Name()
}

// jsonInputs returns inputs as JSON values, with Unknown for those that are not known.
func jsonInputs(object *structpb.Struct) (map[string]any, error) {
	properties, err := plugin.UnmarshalProperties(object, plugin.MarshalOptions{KeepUnknowns: true, SkipNulls: true})
	if err != nil {
		return nil, err
	}
	inputs := map[string]any{}
	for k, v := range properties {
		if k != "__defaults" {
			inputs[string(k)] = plain(v)
		}
	}
	return inputs, nil
}

func plain(v resource.PropertyValue) any {
	switch {
	case v.IsComputed() || v.IsOutput():
		return Unknown
	case v.IsSecret():
		return plain(v.SecretValue().Element)
	case v.IsArchive():
		path, _ := v.ArchiveValue().GetPath()
		return path
	case v.IsArray():
		out := []any{}
		for _, e := range v.ArrayValue() {
			out = append(out, plain(e))
		}
		return out
	case v.IsObject():
		out := map[string]any{}
		for k, e := range v.ObjectValue() {
			out[string(k)] = plain(e)
		}
		return out
	}
	return v.V
}

// String returns the text for golden files: one line for each property of a resource.
// A policy has one line for each statement and resource.
func (r *Resources) String() string {
	var b strings.Builder
	for _, x := range r.All {
		fmt.Fprintln(&b, x)
		if x.Parent != "" {
			fmt.Fprintln(&b, "  in", x.Parent)
		}
		for _, d := range x.DependsOn {
			fmt.Fprintln(&b, "  after", d)
		}
		if x.Protect {
			fmt.Fprintln(&b, "  protected")
		}
		for _, k := range slices.Sorted(maps.Keys(x.Inputs)) {
			for _, line := range lines(x.Inputs[k]) {
				fmt.Fprintf(&b, "  %s: %s\n", k, line)
			}
		}
	}
	return b.String()
}

// text returns a value as JSON without HTML escapes.
func text(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// lines returns a value as lines of text.
func lines(v any) []string {
	var policy struct {
		Version   string
		Statement []struct {
			Effect               string
			Action, Resource     []string
			Principal, Condition any
		}
	}
	s, _ := v.(string)
	if json.Unmarshal([]byte(s), &policy) != nil || policy.Version == "" {
		return []string{text(v)}
	}
	var out []string
	for _, s := range policy.Statement {
		line := s.Effect + " " + strings.Join(s.Action, " ")
		if s.Principal != nil {
			line += " to " + text(s.Principal)
		}
		if s.Condition != nil {
			line += " if " + text(s.Condition)
		}
		if s.Resource == nil {
			out = append(out, line)
		}
		for _, r := range s.Resource {
			out = append(out, line+" on "+r)
		}
	}
	return out
}
