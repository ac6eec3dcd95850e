package deploy

import (
	"fmt"

	"github.com/reventless-go/reventless/aws/internal/naming"
)

// place is the location of a stack, from which names and ARNs are computed.
type place struct {
	partition, region, account string
	names                      naming.Stack
}

// name returns the physical name of a resource. It cannot fail: naming.New has validated
// the names of the application and the stack, and the App has validated those of its
// components.
func (p place) name(k naming.Kind, subject string) string { return must(p.names.Name(k, subject)) }

func (p place) bucket(k naming.Kind, subject string) string {
	return must(p.names.BucketName(k, subject, p.account))
}

func must(name string, err error) string {
	if err != nil {
		panic(fmt.Sprintf("deploy: %v", err))
	}
	return name
}

// arn returns the ARN of a resource in the region.
func (p place) arn(service, resource string) string {
	return "arn:" + p.partition + ":" + service + ":" + p.region + ":" + p.account + ":" + resource
}

func (p place) tableARN(k naming.Kind, component string) string {
	return p.arn("dynamodb", "table/"+p.name(k, component))
}

func (p place) queueARN(k naming.Kind, component string) string {
	return p.arn("sqs", p.name(k, component))
}

func (p place) topicARN(log string) string { return p.arn("sns", p.name(naming.Events, log)) }

func (p place) bucketARN(k naming.Kind, component string) string {
	return "arn:" + p.partition + ":s3:::" + p.bucket(k, component)
}

func (p place) ruleARN(k naming.Kind, subject string) string {
	return p.arn("events", "rule/"+p.name(k, subject))
}

// ruleARNs returns the ARNs of the declared schedules that are EventBridge rules.
func (p place) ruleARNs(timers []timer) values {
	var rules values
	for _, t := range timers {
		if t.rule() {
			rules = append(rules, p.ruleARN(t.kind, t.subject))
		}
	}
	return rules
}

func (p place) topicARNs(logs []string) values {
	var topics values
	for _, log := range logs {
		topics = append(topics, p.topicARN(log))
	}
	return topics
}

func (p place) schedulesARN() string {
	return p.arn("scheduler", "schedule/"+p.name(naming.Schedules, "")+"/*")
}

func (p place) groupARN(k naming.Kind) string {
	return p.arn("scheduler", "schedule-group/"+p.name(k, ""))
}

func (p place) schedulerRoleARN() string {
	return "arn:" + p.partition + ":iam::" + p.account + ":role/" + p.name(naming.SchedulerRole, "")
}
