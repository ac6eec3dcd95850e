package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/aws/deploy/deploytest"
	"github.com/reventless-go/reventless/aws/internal/awstest"
)

// right is an IAM action on a resource.
type right struct {
	action, resource string
	// service is the service that a role is passed to, or the service that makes the
	// request itself on behalf of the resource source.
	service, source string
}

// String omits the service.
func (r right) String() string { return r.action + " on " + r.resource }

// recorder records the rights that the requests of functions need.
type recorder struct {
	mu      sync.Mutex
	used    map[string]map[right]bool // by the physical names of functions
	unknown map[string]bool           // requests whose rights are not defined here
}

func newRecorder() *recorder {
	return &recorder{used: map[string]map[right]bool{}, unknown: map[string]bool{}}
}

// of returns the transport of a function's requests.
func (r *recorder) of(function string) http.RoundTripper { return recording{r, function} }

type recording struct {
	to       *recorder
	function string
}

// RoundTrip implements [http.RoundTripper].
func (r recording) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := awstest.Transport().RoundTrip(request)
	if err != nil {
		return nil, err
	}
	r.to.record(r.function, request, body, response.StatusCode)
	return response, nil
}

func (r *recorder) record(function string, request *http.Request, body []byte, status int) {
	rights, err := rightsOf(request, body, status)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.unknown[function+": "+err.Error()] = true
	}
	if r.used[function] == nil {
		r.used[function] = map[right]bool{}
	}
	for _, x := range rights {
		r.used[function][x] = true
	}
}

// rightsOf returns the rights that a request needs according to the service
// authorization reference. Most transactions and batches have no action of their own.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
func rightsOf(r *http.Request, body []byte, status int) ([]right, error) {
	target, form := r.Header.Get("X-Amz-Target"), url.Values{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		var err error
		if form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
	}
	_, operation, _ := strings.Cut(target, ".")
	switch {
	case strings.HasPrefix(target, "DynamoDB_"):
		return rightsOfDynamoDB(operation, body)
	case strings.HasPrefix(target, "AmazonSQS."):
		return rightsOfSQS(operation, body)
	case form.Has("Action"):
		return rightsOfSNS(form)
	case strings.HasPrefix(r.URL.Path, "/schedules/"):
		return rightsOfScheduler(r, body)
	}
	return rightsOfS3(r, status)
}

func rightsOfDynamoDB(operation string, body []byte) ([]right, error) {
	type item struct{ TableName string }
	var in struct {
		TableName, IndexName string
		RequestItems         map[string]json.RawMessage
		TransactItems        []map[string]item // "Put" and so on
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	on := func(action, table string) right {
		return right{action: "dynamodb:" + action, resource: awstest.ARN("dynamodb", "table/"+table)}
	}
	var rights []right
	switch operation {
	case "GetItem", "PutItem", "UpdateItem", "DeleteItem":
		rights = append(rights, on(operation, in.TableName))
	case "Query", "Scan":
		x := on(operation, in.TableName)
		if in.IndexName != "" {
			x.resource += "/index/" + in.IndexName
		}
		rights = append(rights, x)
	case "BatchGetItem", "BatchWriteItem":
		for table := range in.RequestItems {
			rights = append(rights, on(operation, table))
		}
	case "TransactWriteItems":
		actions := map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
		for _, x := range in.TransactItems {
			for kind, item := range x {
				rights = append(rights, on(actions[kind], item.TableName))
			}
		}
	}
	if len(rights) == 0 {
		return nil, fmt.Errorf("no IAM actions are defined for DynamoDB.%s", operation)
	}
	return rights, nil
}

func rightsOfSQS(operation string, body []byte) ([]right, error) {
	action, known := map[string]string{
		"SendMessage": "SendMessage", "SendMessageBatch": "SendMessage", "ReceiveMessage": "ReceiveMessage", "DeleteMessage": "DeleteMessage", "DeleteMessageBatch": "DeleteMessage",
		"ChangeMessageVisibility": "ChangeMessageVisibility", "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
	}[operation]
	var in struct{ QueueURL string }
	if err := json.Unmarshal(body, &in); err != nil || !known || in.QueueURL == "" {
		return nil, errors.Join(fmt.Errorf("no IAM actions are defined for SQS.%s", operation), err)
	}
	return []right{{action: "sqs:" + action, resource: awstest.ARN("sqs", path.Base(in.QueueURL))}}, nil
}

func rightsOfSNS(form url.Values) ([]right, error) {
	switch operation := form.Get("Action"); operation {
	case "Publish", "PublishBatch":
		return []right{{action: "sns:Publish", resource: form.Get("TopicArn")}}, nil
	default:
		return nil, fmt.Errorf("no IAM actions are defined for SNS.%s", operation)
	}
}

func rightsOfScheduler(r *http.Request, body []byte) ([]right, error) {
	in := struct {
		GroupName string
		Target    struct{ RoleARN string }
	}{GroupName: r.URL.Query().Get("groupName")}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
	}
	action, known := map[string]string{http.MethodPost: "CreateSchedule", http.MethodPut: "UpdateSchedule", http.MethodDelete: "DeleteSchedule", http.MethodGet: "GetSchedule"}[r.Method]
	if !known || in.GroupName == "" {
		return nil, fmt.Errorf("no IAM actions are defined for %s of a schedule", r.Method)
	}
	rights := []right{{action: "scheduler:" + action, resource: awstest.ARN("scheduler", "schedule/"+in.GroupName+"/"+path.Base(r.URL.Path))}}
	if in.Target.RoleARN != "" {
		rights = append(rights, right{action: "iam:PassRole", resource: in.Target.RoleARN, service: "scheduler.amazonaws.com"})
	}
	return rights, nil
}

func rightsOfS3(r *http.Request, status int) ([]right, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	of := right{resource: "arn:aws:s3:::" + bucket}
	list := right{action: "s3:ListBucket", resource: of.resource}
	query := r.URL.Query()
	switch {
	case bucket == "":
	case key == "" && r.Method == http.MethodGet && query.Get("list-type") == "2":
		return []right{list}, nil
	case key == "":
	case r.Method == http.MethodPut, r.Method == http.MethodPost && (query.Has("uploads") || query.Has("uploadId")):
		of.action = "s3:PutObject"
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		of.action = "s3:AbortMultipartUpload"
	case r.Method == http.MethodDelete:
		of.action = "s3:DeleteObject"
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		of.action = "s3:GetObject"
	}
	if of.action == "" {
		return nil, fmt.Errorf("no IAM actions are defined for S3 %s %s?%s", r.Method, r.URL.Path, r.URL.RawQuery)
	}
	of.resource += "/" + key
	if of.action == "s3:GetObject" && status == http.StatusNotFound {
		return []right{of, list}, nil // without the right to list, the status is 403
	}
	return []right{of}, nil
}

// policy has the parts of a policy document that deployments use.
type policy struct {
	Version   string
	Statement []struct {
		Effect    string
		Principal map[string]string
		Action    []string
		Resource  []string
		Condition map[string]map[string]values
	}
}

// values is one value or a list of them.
type values []string

// UnmarshalJSON implements [json.Unmarshaler].
func (v *values) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		*v = values{""}
		return json.Unmarshal(text, &(*v)[0])
	}
	return json.Unmarshal(text, (*[]string)(v))
}

// parsePolicy refuses elements that this package does not evaluate.
func parsePolicy(text string) (policy, error) {
	var p policy
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("policy: %w", err)
	}
	for _, s := range p.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return p, fmt.Errorf("policy: the effect %q", s.Effect)
		}
		for operator, of := range s.Condition {
			if operator != "StringEquals" && operator != "ArnEquals" {
				return p, fmt.Errorf("policy: unknown condition operator %s", operator)
			}
			for key := range of {
				if _, known := (right{}).context(key); !known {
					return p, fmt.Errorf("policy: unknown condition key %s", key)
				}
			}
		}
	}
	return p, nil
}

// context returns the value of a condition key.
func (r right) context(key string) (value string, known bool) {
	switch key {
	case "iam:PassedToService":
		return r.service, true
	case "aws:SourceArn":
		return r.source, true
	case "aws:SourceAccount", "s3:ResourceAccount":
		return awstest.Account, true
	}
	return "", false
}

// allowed reports whether policies allow a right: a statement must allow it and no
// statement may deny it.
func allowed(policies []policy, r right) bool {
	allow := false
	for _, p := range policies {
		for _, s := range p.Statement {
			matches := s.Principal == nil || s.Principal["Service"] == r.service
			matches = matches && slices.ContainsFunc(s.Action, func(pattern string) bool { return like(strings.ToLower(pattern), strings.ToLower(r.action)) })
			matches = matches && slices.ContainsFunc(s.Resource, func(pattern string) bool { return like(pattern, r.resource) })
			for _, of := range s.Condition {
				for key, want := range of {
					value, _ := r.context(key)
					matches = matches && slices.Contains(want, value)
				}
			}
			if matches && s.Effect == "Deny" {
				return false
			}
			allow = allow || matches
		}
	}
	return allow
}

// like reports whether s matches a pattern in which * stands for any characters,
// including separators, and ? for one character.
func like(pattern, s string) bool {
	for i := 0; i < len(pattern); i++ {
		switch {
		case pattern[i] == '*':
			for j := i; j <= len(s); j++ {
				if like(pattern[i+1:], s[j:]) {
					return true
				}
			}
			return false
		case i >= len(s) || pattern[i] != '?' && pattern[i] != s[i]:
			return false
		}
	}
	return len(pattern) == len(s)
}

// policiesOf returns the inline and managed policies of a role.
func policiesOf(r *deploytest.Resources, role string) ([]policy, error) {
	var texts []any
	managed := map[any]any{} // by ARN
	for _, x := range r.All {
		if x.Type == "aws:iam/policy:Policy" {
			managed[policyARN(x)] = x.Inputs["policy"]
		}
	}
	for _, x := range r.All {
		switch {
		case x.Type == "aws:iam/rolePolicy:RolePolicy" && x.Inputs["role"] == role:
			texts = append(texts, x.Inputs["policy"])
		case x.Type == "aws:iam/rolePolicyAttachment:RolePolicyAttachment" && x.Inputs["role"] == role:
			texts = append(texts, managed[x.Inputs["policyArn"]])
		}
	}
	return parsePolicies(texts)
}

func policyARN(r deploytest.Resource) string {
	return "arn:aws:iam::" + awstest.Account + ":policy/" + r.Name
}

func parsePolicies(texts []any) ([]policy, error) {
	var out []policy
	for _, text := range texts {
		s, _ := text.(string)
		p, err := parsePolicy(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// called returns the rights that Lambda uses with the role of a function: for the
// event source mappings of the function and for its log.
func called(r *deploytest.Resources, function string) []right {
	var rights []right
	for _, x := range r.All {
		switch {
		case x.Type == "aws:lambda/function:Function" && x.Inputs["name"] == function:
			group := x.Inputs["loggingConfig"].(map[string]any)["logGroup"].(string)
			for _, action := range []string{"logs:CreateLogStream", "logs:PutLogEvents"} {
				rights = append(rights, right{action: action, resource: awstest.ARN("logs", "log-group:"+group+":log-stream:2026/11/01/[$LATEST]0")})
			}
		case x.Type == "aws:lambda/eventSourceMapping:EventSourceMapping" && x.Inputs["functionName"] == function:
			rights = append(rights, mapped(x)...)
		}
	}
	return rights
}

// mapped returns the rights that an event source mapping needs.
// https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-create-execution-role.html
func mapped(x deploytest.Resource) []right {
	var rights []right
	source := x.Inputs["eventSourceArn"].(string)
	on := func(resource string, actions ...string) {
		for _, a := range actions {
			rights = append(rights, right{action: a, resource: resource})
		}
	}
	if strings.HasPrefix(source, "arn:aws:sqs:") {
		on(source, "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
	} else {
		on(source, "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
		on("*", "dynamodb:ListStreams")
	}
	if d, ok := x.Inputs["destinationConfig"].(map[string]any); ok {
		bucket := d["onFailure"].(map[string]any)["destinationArn"].(string)
		on(bucket, "s3:ListBucket")
		on(bucket+"/aws/lambda/mapping/shard/2026/11/01/batch", "s3:PutObject")
	}
	return rights
}

// checkGrants checks that the role of each function allows what the function did, and
// logs the unused rights.
func (r *recorder) checkGrants(t *testing.T, g *deploytest.Resources, stack string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(r.unknown)) {
		t.Error(what)
	}
	short := strings.NewReplacer(
		"arn:aws:dynamodb:"+awstest.Region+":"+awstest.Account+":table/", "", "arn:aws:sqs:"+awstest.Region+":"+awstest.Account+":", "", "arn:aws:sns:"+awstest.Region+":"+awstest.Account+":", "",
		"arn:aws:s3:::", "", "shop-"+stack+"-", "", "-"+awstest.Account, "",
	).Replace
	for _, f := range g.All {
		if f.Type != "aws:lambda/function:Function" {
			continue
		}
		name, role := f.Inputs["name"].(string), path.Base(f.Inputs["role"].(string))
		policies, err := policiesOf(g, role)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		used := r.used[name]
		if len(used) == 0 {
			t.Errorf("%s made no request: the test does not exercise it", f)
		}
		all := slices.Concat(slices.Collect(maps.Keys(used)), called(g, name))
		denied := map[string][]string{}
		for _, x := range all {
			if !allowed(policies, x) {
				denied[x.action] = append(denied[x.action], x.resource)
			}
		}
		for action, resources := range denied {
			t.Errorf("%s needed %s on %s (one of %d resources), but its role does not allow it", f, action, slices.Min(resources), len(resources))
		}
		granted, unused := 0, map[string][]string{}
		for _, p := range policies {
			for _, s := range p.Statement {
				for _, action := range s.Action {
					for _, pattern := range s.Resource {
						granted++
						if !slices.ContainsFunc(all, func(x right) bool { return x.action == action && like(pattern, x.resource) }) {
							unused[action] = append(unused[action], short(pattern))
						}
					}
				}
			}
		}
		var lines []string
		n := 0
		for _, action := range slices.Sorted(maps.Keys(unused)) {
			n += len(unused[action])
			lines = append(lines, "\n\t"+action+": "+strings.Join(unused[action], ", "))
		}
		t.Logf("%s used %d of %d rights; not %s", f.Name, granted-n, granted, strings.Join(lines, ""))
	}
}

// checkServices checks that AWS services may do what the deployment configures:
// topics, buckets and rules send to queues through the queue policies, schedules through
// their role.
func checkServices(t *testing.T, g *deploytest.Resources) {
	t.Helper()
	queues := map[string][]any{} // policies, by the names of queues
	for _, x := range g.All {
		if x.Type == "aws:sqs/queuePolicy:QueuePolicy" {
			name := path.Base(x.Inputs["queueUrl"].(string))
			queues[name] = append(queues[name], x.Inputs["policy"])
		}
	}
	send := func(x deploytest.Resource, service, source, queue string) {
		policies, err := parsePolicies(queues[queue[strings.LastIndex(queue, ":")+1:]])
		if err != nil {
			t.Fatalf("%s: %v", x, err)
		}
		if r := (right{action: "sqs:SendMessage", resource: queue, service: service, source: source}); !allowed(policies, r) {
			t.Errorf("%s needs %+v, but the queue policy does not allow it", x, r)
		}
	}
	for _, x := range g.All {
		text := func(k string) string { return x.Inputs[k].(string) }
		switch x.Type {
		case "aws:sns/topicSubscription:TopicSubscription":
			send(x, "sns.amazonaws.com", text("topic"), text("endpoint"))
		case "aws:s3/bucketNotification:BucketNotification":
			for _, q := range x.Inputs["queues"].([]any) {
				send(x, "s3.amazonaws.com", "arn:aws:s3:::"+text("bucket"), q.(map[string]any)["queueArn"].(string))
			}
		case "aws:cloudwatch/eventTarget:EventTarget":
			send(x, "events.amazonaws.com", awstest.ARN("events", "rule/"+text("rule")), text("arn"))
		case "aws:scheduler/schedule:Schedule":
			target := x.Inputs["target"].(map[string]any)
			policies, err := policiesOf(g, path.Base(target["roleArn"].(string)))
			if err != nil {
				t.Fatalf("%s: %v", x, err)
			}
			if r := (right{action: "sqs:SendMessage", resource: target["arn"].(string)}); !allowed(policies, r) {
				t.Errorf("%s needs %s, but its role does not allow it", x, r)
			}
		}
	}
}

// TestPoliciesDeny tests the evaluation of policies.
func TestPoliciesDeny(t *testing.T) {
	p, err := parsePolicies([]any{
		`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":["dynamodb:GetItem","dynamodb:Query"],"Resource":["arn:t/a","arn:t/b/index/*"]},
			{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:b/*"]},
			{"Effect":"Allow","Action":["iam:PassRole"],"Resource":["arn:r"],"Condition":{"StringEquals":{"iam:PassedToService":"scheduler.amazonaws.com"}}}]}`,
		`{"Version":"2012-10-17","Statement":[
			{"Effect":"Deny","Action":["s3:Put*"],"Resource":["arn:b/kept/*"]},
			{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":["sqs:SendMessage"],"Resource":["arn:q"],"Condition":{"ArnEquals":{"aws:SourceArn":["arn:t1","arn:t2"]}}}]}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	for r, want := range map[right]bool{
		{action: "dynamodb:GetItem", resource: "arn:t/a"}:                                                 true,
		{action: "dynamodb:getitem", resource: "arn:t/a"}:                                                 true,
		{action: "dynamodb:GetItem", resource: "arn:t/ab"}:                                                false,
		{action: "dynamodb:Query", resource: "arn:t/b/index/i"}:                                           true,
		{action: "s3:GetObject", resource: "arn:b/kept/x"}:                                                true,
		{action: "s3:PutObject", resource: "arn:b/kept/x"}:                                                false,
		{action: "iam:PassRole", resource: "arn:r", service: "scheduler.amazonaws.com"}:                   true,
		{action: "iam:PassRole", resource: "arn:r", service: "lambda.amazonaws.com"}:                      false,
		{action: "sqs:SendMessage", resource: "arn:q", service: "sns.amazonaws.com", source: "arn:t2"}:    true,
		{action: "sqs:SendMessage", resource: "arn:q", service: "sns.amazonaws.com", source: "arn:t3"}:    false,
		{action: "sqs:SendMessage", resource: "arn:q", service: "events.amazonaws.com", source: "arn:t2"}: false,
	} {
		if got := allowed(p, r); got != want {
			t.Errorf("%+v is allowed: %v, want %v", r, got, want)
		}
	}
	for _, text := range []string{
		``, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":["a:b"],"Resource":["*"]}]}`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["a:b"],"Resource":["*"],"Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["a:b"],"Resource":["*"],"Condition":{"StringEquals":{"aws:PrincipalTag/x":"y"}}}]}`,
	} {
		if _, err := parsePolicy(text); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}
