// Package naming computes the physical names of AWS resources. A name is a pure
// function of the application, the stack, the component and the kind of resource.
// The runtime and the deploy program both compute names, so neither passes them to
// the other.
//
// A name has the form "shop-dev-Catalog-Product-log": application, stack, plugin,
// component, and the token of its [Kind]. Only the stack may contain dashes, and the
// kind determines the number of parts after it, so the parts can be read back from
// the name. A name that its service does not accept in this form (it is too long, has
// a dot, or has capitals although the service ignores case) is shortened and gets a
// hash of 130 bits after two dashes, which the plain form never has:
// "shop-dev-Catalog-ProductsByCatego--vjuqnwhn45c4442okob7yzyjrm-fn". So two different
// resources never have the same name.
package naming

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/reventless-go/reventless/driver"
)

// Kind is a kind of resource.
type Kind uint8

// The kinds, each with its service and its owner.
const (
	Log               Kind = iota // DynamoDB table, component: the commits of an event log
	Rows                          // DynamoDB table, component: the rows of a read model
	Watermarks                    // DynamoDB table, component: the watermarks of a consumer
	Refs                          // DynamoDB table, component: the references of a counter
	Counts                        // DynamoDB table, component: the counts of a counter
	Outcomes                      // DynamoDB table, application: outcomes of commands
	DeadLetters                   // DynamoDB table, application: parked messages
	Commands                      // SQS FIFO queue, component: the commands of an aggregate
	CommandsDLQ                   // SQS FIFO queue, component: the dead letters of Commands
	Collector                     // SQS FIFO queue, component: the events of a consumer
	CollectorDLQ                  // SQS FIFO queue, component: the dead letters of Collector
	Timers                        // SQS queue, application: the firings of schedules
	TimersDLQ                     // SQS queue, application: the dead letters of Timers
	Objects                       // SQS queue, component: the object notifications of a bucket
	ObjectsDLQ                    // SQS queue, component: the dead letters of Objects
	Events                        // SNS FIFO topic, component: the commits of a log
	Bucket                        // S3 bucket, component: the objects of a bucket
	Failures                      // S3 bucket, application: stream records that a mapping discarded
	Schedules                     // EventBridge Scheduler group, application: schedules created at run time
	DeclaredSchedules             // EventBridge Scheduler group, application: declared schedules that cannot be rules
	ScheduleRule                  // EventBridge rule, component: a declared schedule
	HeartbeatRule                 // EventBridge rule, plugin: its heartbeat
	SchedulerRole                 // IAM role, application: the permissions of Scheduler
)

// scope is the kind of owner of a resource. It determines the form of the subject.
type scope uint8

const (
	ofApp       scope = iota // no subject
	ofPlugin                 // "Plugin"
	ofComponent              // "Plugin.Component"
)

// service has the rules of a service for names.
type service struct {
	name       string
	max        int    // characters; all names are ASCII
	suffix     string // required end of every name
	ignoreCase bool   // names that differ only in case are equal, or capitals are not allowed
}

// The limits are from the documentation of the services.
var (
	dynamoDB  = service{name: "DynamoDB table", max: 255}            // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
	sqs       = service{name: "SQS queue", max: 80}                  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
	sqsFIFO   = service{name: "SQS queue", max: 80, suffix: ".fifo"} // the suffix counts
	snsFIFO   = service{name: "SNS topic", max: 256, suffix: ".fifo"}
	s3        = service{name: "S3 bucket", max: 63, ignoreCase: true}       // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
	lambda    = service{name: "Lambda function", max: 64}                   // https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
	rules     = service{name: "EventBridge rule", max: 64}                  // https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
	scheduler = service{name: "Scheduler group", max: 64, ignoreCase: true} // not documented to distinguish case
	iam       = service{name: "IAM role", max: 64, ignoreCase: true}        // https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
)

var kinds = [...]struct {
	token string // unique, without dashes
	scope scope
	in    *service
}{
	Log:               {"log", ofComponent, &dynamoDB},
	Rows:              {"rows", ofComponent, &dynamoDB},
	Watermarks:        {"watermarks", ofComponent, &dynamoDB},
	Refs:              {"refs", ofComponent, &dynamoDB},
	Counts:            {"counts", ofComponent, &dynamoDB},
	Outcomes:          {"outcomes", ofApp, &dynamoDB},
	DeadLetters:       {"deadletters", ofApp, &dynamoDB},
	Commands:          {"commands", ofComponent, &sqsFIFO},
	CommandsDLQ:       {"commandsdlq", ofComponent, &sqsFIFO},
	Collector:         {"collector", ofComponent, &sqsFIFO},
	CollectorDLQ:      {"collectordlq", ofComponent, &sqsFIFO},
	Timers:            {"timers", ofApp, &sqs},
	TimersDLQ:         {"timersdlq", ofApp, &sqs},
	Objects:           {"objects", ofComponent, &sqs},
	ObjectsDLQ:        {"objectsdlq", ofComponent, &sqs},
	Events:            {"events", ofComponent, &snsFIFO},
	Bucket:            {"bucket", ofComponent, &s3},
	Failures:          {"failures", ofApp, &s3},
	Schedules:         {"schedules", ofApp, &scheduler},
	DeclaredSchedules: {"declared", ofApp, &scheduler},
	ScheduleRule:      {"schedule", ofComponent, &rules},
	HeartbeatRule:     {"heartbeat", ofPlugin, &rules},
	SchedulerRole:     {"schedulerrole", ofApp, &iam},
}

// String returns the token of k in names.
func (k Kind) String() string {
	if int(k) >= len(kinds) {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kinds[k].token
}

// Stack computes the names of the resources in one stack of an application.
type Stack struct{ app, stack string }

// Limits of the parts of names. Names are shortened to the limits of their services
// anyway; these limits only reject unreasonable values.
const (
	MaxApp    = 64
	MaxStack  = 100
	MaxUnique = 20
)

// New returns the names of the resources in a stack of app. As in reventless.New, app
// starts with a letter and has only letters and digits. As in Pulumi, stack has
// letters, digits, dashes, underscores and dots.
func New(app, stack string) (Stack, error) {
	if !word(app) {
		return Stack{}, fmt.Errorf("naming: application %q: %w: want a letter followed by letters and digits, at most %d characters", app, driver.ErrInvalid, MaxApp)
	}
	if stack == "" || len(stack) > MaxStack || !only(stack, stackChar) {
		return Stack{}, fmt.Errorf("naming: stack %q: %w: want 1 to %d letters, digits, hyphens, underscores or dots", stack, driver.ErrInvalid, MaxStack)
	}
	return Stack{app, stack}, nil
}

// Name returns the name of the resource of kind k. The subject is a component
// "<Plugin>.<Component>", a plugin, or empty, depending on the kind. For buckets use
// [Stack.BucketName].
func (s Stack) Name(k Kind, subject string) (string, error) {
	if int(k) < len(kinds) && kinds[k].in == &s3 {
		return "", fmt.Errorf("naming: %v of %q: %w: the name of a bucket needs the account", k, subject, driver.ErrInvalid)
	}
	return s.kind(k, subject, "")
}

// BucketName returns the name of the bucket of kind k. Bucket names are unique across
// accounts: unique is the account id, or another text of lower case letters and
// digits that distinguishes stacks with the same name.
func (s Stack) BucketName(k Kind, subject, unique string) (string, error) {
	if int(k) >= len(kinds) || kinds[k].in != &s3 {
		return "", fmt.Errorf("naming: %v of %q: %w: not a kind of bucket", k, subject, driver.ErrInvalid)
	}
	// S3 reserves names that end in -s3alias for its access points.
	if unique == "" || len(unique) > MaxUnique || unique == "s3alias" || !only(unique, lowerChar) {
		return "", fmt.Errorf("naming: %v of %q: %w: account id %q: want 1 to %d lower case letters and digits", k, subject, driver.ErrInvalid, unique, MaxUnique)
	}
	return s.kind(k, subject, "-"+unique)
}

func (s Stack) kind(k Kind, subject, suffix string) (string, error) {
	if int(k) >= len(kinds) {
		return "", fmt.Errorf("naming: %v of %q: %w: no such kind", k, subject, driver.ErrInvalid)
	}
	parts, sc, err := s.subject(subject)
	if err == nil && sc != kinds[k].scope {
		err = fmt.Errorf("%w: a %s has no resource of this kind", driver.ErrInvalid, sc)
	}
	if err != nil {
		return "", fmt.Errorf("naming: %v of %q: %w", k, subject, err)
	}
	return join(*kinds[k].in, kinds[k].token, suffix, parts, sc), nil
}

// FunctionName returns the name of the Lambda function with a role for subject: a
// component, a plugin, or the whole application if it is empty. The role is a word of
// lower case letters, such as "commands" or "projections".
func (s Stack) FunctionName(role, subject string) (string, error) {
	return s.function(lambda, "fn", role, subject)
}

// FunctionRoleName returns the name of the IAM role of that function.
func (s Stack) FunctionRoleName(role, subject string) (string, error) {
	return s.function(iam, "role", role, subject)
}

// FunctionLogGroup returns the name of the log group of that function.
func (s Stack) FunctionLogGroup(role, subject string) (string, error) {
	name, err := s.FunctionName(role, subject)
	if err != nil {
		return "", err
	}
	return "/aws/lambda/" + name, nil
}

func (s Stack) function(in service, token, role, subject string) (string, error) {
	parts, sc, err := s.subject(subject)
	if err == nil && (!word(role) || !only(role, lowerChar)) {
		err = fmt.Errorf("%w: want a role of at most %d lower case letters and digits", driver.ErrInvalid, MaxApp)
	}
	if err != nil {
		return "", fmt.Errorf("naming: function %q of %q: %w", role, subject, err)
	}
	// The token determines the number of parts before it, like that of a kind.
	return join(in, [...]string{"app", "plugin", ""}[sc]+token, "", append(parts, role), sc), nil
}

// ScheduleName returns the name in the group [Schedules] of the schedule with an id,
// which may be any text.
func ScheduleName(id string) string {
	const limit = 64
	// Ids with capitals are hashed because Scheduler is not documented to distinguish
	// case; ids that start with a dot because the name is part of a URL's path.
	if id != "" && len(id) <= limit && only(id, scheduleChar) && id[0] != '.' && !strings.Contains(id, "--") {
		return id
	}
	h := hash("schedule", id)
	return readable(id, limit-len(h)-2, true) + "--" + h
}

// subject splits the logical name of a resource's owner into the parts of a physical
// name.
func (s Stack) subject(subject string) ([]string, scope, error) {
	if s.app == "" {
		return nil, 0, fmt.Errorf("%w: the Stack was not created by New", driver.ErrInvalid)
	}
	parts := []string{s.app, s.stack}
	if subject == "" {
		return parts, ofApp, nil
	}
	plugin, component, two := strings.Cut(subject, ".")
	if !word(plugin) || two && !word(component) {
		return nil, 0, fmt.Errorf("%w: not the name of a plugin or component", driver.ErrInvalid)
	}
	if !two {
		return append(parts, plugin), ofPlugin, nil
	}
	return append(parts, plugin, component), ofComponent, nil
}

func (s scope) String() string {
	return [...]string{"whole application", "plugin", "component"}[s]
}

// join returns the name made of parts: the application, the stack, the subject of
// scope sc and perhaps a role. The token determines their number. The suffix makes
// the name of a bucket unique.
func join(in service, token, suffix string, parts []string, sc scope) string {
	tail := "-" + token + suffix + in.suffix
	plain := strings.Join(parts, "-")
	if in.ignoreCase {
		plain = strings.ToLower(plain)
	}
	if len(plain)+len(tail) <= in.max && isPlain(in, parts, sc) && !(in.name == s3.name && reserved(plain)) {
		return plain + tail
	}
	h := hash(append([]string{token}, parts...)...)
	start := readable(strings.Join(parts, "-"), in.max-len(tail)-len(h)-2, in.ignoreCase)
	if in.name == s3.name && reserved(start+"--") {
		start = "x"
	}
	return start + "--" + h + tail
}

// isPlain reports whether the plain form is unique for these parts.
func isPlain(in service, parts []string, sc scope) bool {
	stack := parts[1]
	if strings.Trim(stack, "-") != stack || strings.Contains(stack, "--") || strings.Contains(stack, ".") {
		return false
	}
	if !in.ignoreCase {
		return true
	}
	if strings.Contains(stack, "_") {
		return false
	}
	// If the service ignores case, only one spelling is plain: lower case, with a
	// capital at the start of the plugin's and the component's name.
	for i, p := range parts {
		if i >= 2 && i < 2+int(sc) {
			if p[0] < 'A' || p[0] > 'Z' {
				return false
			}
			p = p[1:]
		}
		if strings.ToLower(p) != p {
			return false
		}
	}
	return true
}

// reserved reports whether S3 reserves names that start like name.
func reserved(name string) bool {
	for _, p := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// readable returns the start of s in letters, digits and single dashes, so that a
// person can recognize a hashed name.
func readable(s string, limit int, lower bool) string {
	if lower {
		s = strings.ToLower(s)
	}
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < limit; i++ {
		switch c := s[i]; {
		case lowerChar(c) || c >= 'A' && c <= 'Z':
			b.WriteByte(c)
		case b.Len() > 0 && b.String()[b.Len()-1] != '-':
			b.WriteByte('-')
		}
	}
	if r := strings.TrimRight(b.String(), "-"); r != "" {
		return r
	}
	return "x"
}

// hash returns 130 bits of the hash of parts, which makes collisions infeasible, as
// lower case letters and digits.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))[:26]
}

// word reports whether s can be the name of an application, plugin or component.
func word(s string) bool {
	return s != "" && len(s) <= MaxApp && (s[0] < '0' || s[0] > '9') &&
		only(s, func(c byte) bool { return lowerChar(c) || c >= 'A' && c <= 'Z' })
}

func only(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func lowerChar(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func scheduleChar(c byte) bool { return lowerChar(c) || c == '-' || c == '_' || c == '.' }

func stackChar(c byte) bool { return scheduleChar(c) || c >= 'A' && c <= 'Z' }
