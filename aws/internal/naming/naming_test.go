package naming_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
)

const account = "123456789012"

// rule has the rules of a service for names, from its documentation and independent of the
// package.
type rule struct {
	service    string
	re         *regexp.Regexp
	never      *regexp.Regexp
	ignoreCase bool
}

var (
	table  = rule{service: "DynamoDB", re: regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)}
	queue  = rule{service: "SQS", re: regexp.MustCompile(`^[a-zA-Z0-9_-]{1,80}$`)}
	fifo   = rule{service: "SQS", re: regexp.MustCompile(`^[a-zA-Z0-9_-]{1,75}\.fifo$`)}
	topic  = rule{service: "SNS", re: regexp.MustCompile(`^[a-zA-Z0-9_-]{1,251}\.fifo$`)}
	bucket = rule{
		service: "S3", re: regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`),
		never: regexp.MustCompile(`^xn--|^sthree-|^amzn-s3-demo-|-s3alias$|--ol-s3$|\.mrap$|--x-s3$|--table-s3$|\.\.|^\d+\.\d+\.\d+\.\d+$`), ignoreCase: true,
	}
	function = rule{service: "Lambda", re: regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)}
	ebRule   = rule{service: "EventBridge", re: regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,64}$`)}
	schedule = rule{service: "Scheduler", re: regexp.MustCompile(`^[0-9a-zA-Z_.-]{1,64}$`), never: regexp.MustCompile(`^\.`), ignoreCase: true}
	role     = rule{service: "IAM", re: regexp.MustCompile(`^[\w+=,.@-]{1,64}$`), ignoreCase: true}
	logGroup = rule{service: "Logs", re: regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`), never: regexp.MustCompile(`^aws/`)}
)

var (
	ofApp       = map[naming.Kind]rule{naming.Outcomes: table, naming.DeadLetters: table, naming.Timers: queue, naming.TimersDLQ: queue, naming.Failures: bucket, naming.Schedules: schedule, naming.DeclaredSchedules: schedule, naming.SchedulerRole: role}
	ofPlugin    = map[naming.Kind]rule{naming.HeartbeatRule: ebRule}
	ofComponent = map[naming.Kind]rule{
		naming.Log: table, naming.Rows: table, naming.Watermarks: table, naming.Refs: table, naming.Counts: table,
		naming.Commands: fifo, naming.CommandsDLQ: fifo, naming.Collector: fifo, naming.CollectorDLQ: fifo,
		naming.Objects: queue, naming.ObjectsDLQ: queue, naming.Events: topic, naming.Bucket: bucket, naming.ScheduleRule: ebRule,
	}
)

func (r rule) check(t *testing.T, name string) {
	t.Helper()
	if !r.re.MatchString(name) || r.never != nil && r.never.MatchString(name) {
		t.Errorf("%q (%d characters) does not match %v", name, len(name), r.re)
	}
}

// book has the resources by service and name.
type book map[string]string

func (b book) add(t *testing.T, r rule, name, what string) {
	t.Helper()
	r.check(t, name)
	if r.ignoreCase {
		name = strings.ToLower(name)
	}
	key := r.service + " " + name
	if other, ok := b[key]; ok && other != what {
		t.Errorf("%s and %s are both named %q", other, what, name)
	}
	b[key] = what
}

// addAll adds the names of all resources of subject. It returns false if a part was refused.
func (b book) addAll(t *testing.T, app, stack, subject, unique, work string) bool {
	t.Helper()
	s, err := naming.New(app, stack)
	if err != nil {
		wantInvalid(t, err)
		return false
	}
	of := ofApp
	if subject != "" {
		of = ofPlugin
		if strings.Contains(subject, ".") {
			of = ofComponent
		}
	}
	what := fmt.Sprintf("%q of app %q, stack %q", subject, app, stack)
	taken := true
	for k, r := range of {
		var name string
		if r.service == bucket.service {
			name, err = s.BucketName(k, subject, unique)
		} else {
			name, err = s.Name(k, subject)
		}
		if err != nil {
			wantInvalid(t, err)
			taken = false
			continue
		}
		if r.service == bucket.service {
			b.add(t, r, name, fmt.Sprintf("%v of %s for %s", k, what, unique))
		} else {
			b.add(t, r, name, fmt.Sprintf("%v of %s", k, what))
		}
	}
	for r, f := range map[*rule]func(string, string) (string, error){&function: s.FunctionName, &role: s.FunctionRoleName, &logGroup: s.FunctionLogGroup} {
		name, err := f(work, subject)
		if err != nil {
			wantInvalid(t, err)
			taken = false
			continue
		}
		b.add(t, *r, name, fmt.Sprintf("function %q of %s", work, what))
	}
	return taken
}

func wantInvalid(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("%v is not a driver.ErrInvalid", err)
	}
}

// A changed name would lose the data of its resource.
func TestNamesDoNotChange(t *testing.T) {
	t.Parallel()
	dev := mustNew(t, "shop", "dev")
	long := mustNew(t, "shop", "feature.42_"+strings.Repeat("long", 10))
	for _, tt := range []struct {
		got  func() (string, error)
		want string
	}{
		{func() (string, error) { return dev.Name(naming.Log, "Catalog.Product") }, "shop-dev-Catalog-Product-log"},
		{func() (string, error) { return dev.Name(naming.Commands, "Catalog.Product") }, "shop-dev-Catalog-Product-commands.fifo"},
		{func() (string, error) { return dev.Name(naming.Outcomes, "") }, "shop-dev-outcomes"},
		{func() (string, error) { return dev.Name(naming.HeartbeatRule, "Catalog") }, "shop-dev-Catalog-heartbeat"},
		{func() (string, error) { return dev.BucketName(naming.Bucket, "Catalog.Images", account) }, "shop-dev-catalog-images-bucket-123456789012"},
		{func() (string, error) { return dev.BucketName(naming.Bucket, "Catalog.ProductImages", account) }, "shop-dev-catalo--772la3lic35t2u4z7oj7r5vbsg-bucket-123456789012"},
		{func() (string, error) { return dev.FunctionName("commands", "Catalog") }, "shop-dev-Catalog-commands-pluginfn"},
		{func() (string, error) { return dev.FunctionLogGroup("commands", "Catalog") }, "/aws/lambda/shop-dev-Catalog-commands-pluginfn"},
		{func() (string, error) { return dev.FunctionRoleName("api", "") }, "shop-dev-api-approle"},
		{func() (string, error) { return long.Name(naming.Log, "Catalog.Product") }, "shop-feature-42-longlonglonglonglonglonglonglonglonglong-Catalog-Product--6vwkmnkdezgui2fxbleljquinl-log"},
		{func() (string, error) { return long.Name(naming.Commands, "Catalog.Product") }, "shop-feature-42-longlonglonglonglonglo--cjl5t7wsyv2qv2by6hewl5ngn2-commands.fifo"},
		{func() (string, error) { return naming.ScheduleName("order-4711"), nil }, "order-4711"},
		{func() (string, error) { return naming.ScheduleName("Order/4711"), nil }, "order-4711--75lsu3mgt3lcdqay3hdu7dbb3g"},
	} {
		got, err := tt.got()
		if err != nil {
			t.Errorf("%q: %v", tt.want, err)
		}
		if got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
}

func mustNew(t *testing.T, app, stack string) naming.Stack {
	t.Helper()
	s, err := naming.New(app, stack)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// For many short combinations of characters, all names are valid and unique.
func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	words := []string{"a", "A", "Aa", "AA", "log", "xn", "sthree", "amzn", strings.Repeat("a", 64)}
	stacks := []string{"dev", "Dev", "a-Log", "s3-demo-a", strings.Repeat("a", 100), strings.Repeat(".", 100), "a--b-log", "a-fn-A"}
	for n, all := 0, []string{""}; n < 2; n++ {
		var next []string
		for _, s := range all {
			for _, c := range "aA-_." {
				next = append(next, s+string(c))
			}
		}
		stacks, all = append(stacks, next...), next
	}
	// A stack may be named after existing names.
	forged, err := mustNew(t, "a", ".").Name(naming.Log, "A.Log")
	if err != nil {
		t.Fatal(err)
	}
	stacks = append(stacks, strings.TrimSuffix(strings.TrimPrefix(forged, "a-"), "-A-Log-log"), strings.TrimPrefix(forged, "a-"))
	b := book{}
	for _, app := range words {
		for _, stack := range stacks {
			subjects := []string{"", "Log", "A", "AA", "a"}
			for _, p := range []string{"A", "AA", "Log", words[len(words)-1]} {
				for _, c := range []string{"A", "Aa", "AA", "log", words[len(words)-1]} {
					subjects = append(subjects, p+"."+c)
				}
			}
			for _, subject := range subjects {
				for _, more := range [][2]string{{account, "a"}, {"bucket", "log"}} {
					if !b.addAll(t, app, stack, subject, more[0], more[1]) {
						t.Errorf("app %q, stack %q, subject %q were refused", app, stack, subject)
					}
				}
			}
			if t.Failed() {
				return
			}
		}
	}
	if len(b) < 50_000 {
		t.Errorf("only %d names were compared", len(b))
	}
}

func TestScheduleNamesOfAnyText(t *testing.T) {
	t.Parallel()
	b := book{}
	for _, id := range []string{
		"", " ", ".", "..", "...", "a", "A", "aA", "Aa", "a--b", "--", "x--", "ä", "a/b", "a b", "a-b", "日本語", "\xff", "\x00",
		strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("A", 64), strings.Repeat("日", 400),
		naming.ScheduleName("A"), strings.ToUpper(naming.ScheduleName("A")),
		"0193a1f0-7b5c-7c3e-9d3a-1f2e3d4c5b6a",
	} {
		b.add(t, schedule, naming.ScheduleName(id), fmt.Sprintf("%q", id))
	}
}

func TestInvalidNamesAreRefused(t *testing.T) {
	t.Parallel()
	for _, in := range [][2]string{
		{"", "dev"},
		{"1shop", "dev"},
		{"my-shop", "dev"},
		{"shöp", "dev"},
		{"my.shop", "dev"},
		{strings.Repeat("a", 65), "dev"},
		{"shop", ""},
		{"shop", "a b"},
		{"shop", "a/b"},
		{"shop", "ä"},
		{"shop", strings.Repeat("a", 101)},
	} {
		if _, err := naming.New(in[0], in[1]); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("New(%q, %q): got %v, want ErrInvalid", in[0], in[1], err)
		}
	}
	s := mustNew(t, "shop", "dev")
	for _, tt := range []struct {
		kind    naming.Kind
		subject string
	}{
		{naming.Log, ""},
		{naming.Log, "Catalog"},
		{naming.Log, "."},
		{naming.Log, "Catalog."},
		{naming.Log, ".Product"},
		{naming.Log, "Catalog.Product.log"},
		{naming.Log, "Catalog.Pro-duct"},
		{naming.Log, "Catalog.1"},
		{naming.Log, "Catalog." + strings.Repeat("a", 65)},
		{naming.Outcomes, "Catalog"},
		{naming.Outcomes, "Catalog.Product"},
		{naming.HeartbeatRule, ""},
		{naming.HeartbeatRule, "Catalog.Product"},
		{naming.Bucket, "Catalog.Images"},
		{naming.Kind(200), ""},
	} {
		if name, err := s.Name(tt.kind, tt.subject); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("Name(%v, %q) = %q, %v; want ErrInvalid", tt.kind, tt.subject, name, err)
		}
	}
	for _, unique := range []string{"", "A", "a-b", "a.b", "s3alias", strings.Repeat("1", 21)} {
		if name, err := s.BucketName(naming.Bucket, "Catalog.Images", unique); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("BucketName for %q = %q, %v; want ErrInvalid", unique, name, err)
		}
	}
	if name, err := s.BucketName(naming.Log, "Catalog.Images", account); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("BucketName of a table = %q, %v; want ErrInvalid", name, err)
	}
	for _, work := range []string{"", "Commands", "a-b", "1a", strings.Repeat("a", 65)} {
		if name, err := s.FunctionName(work, "Catalog"); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("FunctionName(%q) = %q, %v; want ErrInvalid", work, name, err)
		}
	}
	if name, err := (naming.Stack{}).Name(naming.Outcomes, ""); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("a zero Stack returned %q, %v; want ErrInvalid", name, err)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("shop", "dev", "Catalog.Product", account, "commands", "shop", "dev-Catalog", "Product", account, "commands", "a", "A")
	f.Add("shop", "dev", "Catalog.AB", account, "a", "shop", "dev", "Catalog.Ab", account, "a", "", ".")
	f.Add("sthree", "s3-demo", "", "1", "a", "amzn", "s3-demo-", "A.B", "bucket", "log", "a--b", "a/b")
	f.Fuzz(func(t *testing.T, app1, stack1, subject1, unique1, work1, app2, stack2, subject2, unique2, work2, id1, id2 string) {
		b := book{}
		b.addAll(t, app1, stack1, subject1, unique1, work1)
		b.addAll(t, app2, stack2, subject2, unique2, work2)
		b.add(t, schedule, naming.ScheduleName(id1), fmt.Sprintf("%q", id1))
		b.add(t, schedule, naming.ScheduleName(id2), fmt.Sprintf("%q", id2))
	})
}
