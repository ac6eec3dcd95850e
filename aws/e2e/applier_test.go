package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventbridgetypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/reventless-go/reventless/aws/deploy/deploytest"
	"github.com/reventless-go/reventless/aws/internal/awstest"
)

// applier creates the resources of a deploy program on an emulator through the SDK, as
// Pulumi's provider does on AWS. An unknown type or property is an error, so nothing is
// omitted silently.
type applier struct {
	t testing.TB
	*awstest.Clients
	iam  *iam.Client
	logs *cloudwatchlogs.Client
	// cloudwatch is an SDK version without CBOR, which MiniStack does not support.
	cloudwatch *cloudwatch.Client

	// code replaces the registered code of the functions, which is for arm64.
	code []byte
	// endpoint returns the endpoint of the services for a function, by physical name.
	endpoint func(function string) string
	// without, if not nil, reports which resources are not created.
	without func(r deploytest.Resource) bool
}

// notApplied are the types and properties that are not applied, with the reasons.
var notApplied = map[string]string{
	"aws:s3/bucket:Bucket forceDestroy": "it is what Pulumi does when it deletes the bucket; S3 knows nothing of it",
}

func newApplier(t testing.TB, mini *awstest.Emulator, code string, endpoint func(function string) string) *applier {
	t.Helper()
	program, err := os.ReadFile(code)
	if err != nil {
		t.Fatal(err)
	}
	cfg := mini.Config(nil)
	return &applier{
		t: t, Clients: mini.Clients(nil), iam: iam.NewFromConfig(cfg), logs: cloudwatchlogs.NewFromConfig(cfg), cloudwatch: cloudwatch.NewFromConfig(cfg),
		code: program, endpoint: endpoint,
	}
}

// create is what [deploytest.Options] takes.
func (a *applier) create(r deploytest.Resource) (id string, outputs map[string]any, err error) {
	if _, skip := notApplied[r.Type]; skip || a.without != nil && a.without(r) {
		return r.Name, nil, nil
	}
	makers := map[string]func(context.Context, *properties) (string, map[string]any, error){
		"aws:dynamodb/table:Table":                               a.table,
		"aws:sqs/queue:Queue":                                    a.queue,
		"aws:sqs/queuePolicy:QueuePolicy":                        a.queueAttribute("policy", "Policy"),
		"aws:sqs/redriveAllowPolicy:RedriveAllowPolicy":          a.queueAttribute("redriveAllowPolicy", "RedriveAllowPolicy"),
		"aws:sns/topic:Topic":                                    a.topic,
		"aws:sns/topicSubscription:TopicSubscription":            a.subscription,
		"aws:s3/bucket:Bucket":                                   a.bucket,
		"aws:s3/bucketNotification:BucketNotification":           a.notification,
		"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": a.publicAccess,
		"aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": a.encryption,
		"aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration":                       a.lifecycle,
		"aws:iam/role:Role":                                a.role,
		"aws:iam/rolePolicy:RolePolicy":                    a.rolePolicy,
		"aws:lambda/function:Function":                     a.function,
		"aws:lambda/eventSourceMapping:EventSourceMapping": a.mapping,
		"aws:cloudwatch/logGroup:LogGroup":                 a.logGroup,
		"aws:cloudwatch/metricAlarm:MetricAlarm":           a.alarm,
		"aws:cloudwatch/eventRule:EventRule":               a.rule,
		"aws:cloudwatch/eventTarget:EventTarget":           a.target,
		"aws:scheduler/scheduleGroup:ScheduleGroup":        a.scheduleGroup,
		"aws:scheduler/schedule:Schedule":                  a.schedule,
	}
	maker, known := makers[r.Type]
	if !known {
		return "", nil, fmt.Errorf("the applier does not know the type %s", r.Type)
	}
	p := newProperties(r.Inputs)
	for k := range r.Inputs {
		if _, skip := notApplied[r.Type+" "+k]; skip {
			p.any(k)
		}
	}
	id, outputs, err = maker(a.t.Context(), p)
	if err != nil {
		return "", nil, err
	}
	return id, outputs, p.done()
}

// later removes a resource when the test ends, because left-over resources make the
// emulators slow. A failure to remove it does not fail the test.
func (a *applier) later(ctx context.Context, remove func(ctx context.Context) error) {
	a.t.Cleanup(func() {
		if err := remove(context.WithoutCancel(ctx)); err != nil {
			a.t.Logf("a resource is left over: %v", err)
		}
	})
}

func (a *applier) table(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("name")
	in := &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: dynamodbtypes.BillingMode(p.text("billingMode")), KeySchema: keySchema(p.text("hashKey"), p.text("rangeKey")),
		DeletionProtectionEnabled: p.flag("deletionProtectionEnabled"),
	}
	for _, x := range p.objects("attributes") {
		in.AttributeDefinitions = append(in.AttributeDefinitions, dynamodbtypes.AttributeDefinition{AttributeName: aws.String(x.text("name")), AttributeType: dynamodbtypes.ScalarAttributeType(x.text("type"))})
	}
	for _, x := range p.objects("globalSecondaryIndexes") {
		index := dynamodbtypes.GlobalSecondaryIndex{
			IndexName: aws.String(x.text("name")), Projection: &dynamodbtypes.Projection{ProjectionType: dynamodbtypes.ProjectionType(x.text("projectionType"))},
		}
		for _, k := range x.objects("keySchemas") {
			index.KeySchema = append(index.KeySchema, dynamodbtypes.KeySchemaElement{AttributeName: aws.String(k.text("attributeName")), KeyType: dynamodbtypes.KeyType(k.text("keyType"))})
		}
		in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, index)
	}
	if on := p.flag("streamEnabled"); on != nil {
		in.StreamSpecification = &dynamodbtypes.StreamSpecification{StreamEnabled: on, StreamViewType: dynamodbtypes.StreamViewType(p.text("streamViewType"))}
	}
	for k, v := range p.texts("tags") {
		in.Tags = append(in.Tags, dynamodbtypes.Tag{Key: &k, Value: &v})
	}
	out, err := a.DynamoDB.CreateTable(ctx, in)
	if err != nil {
		return "", nil, err
	}
	a.later(ctx, func(ctx context.Context) error {
		_, err := a.DynamoDB.UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: &name, DeletionProtectionEnabled: aws.Bool(false)})
		if err == nil {
			_, err = a.DynamoDB.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &name})
		}
		return err
	})
	if x := p.object("ttl"); x != nil {
		if _, err := a.DynamoDB.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
			TableName: &name, TimeToLiveSpecification: &dynamodbtypes.TimeToLiveSpecification{AttributeName: aws.String(x.text("attributeName")), Enabled: x.flag("enabled")},
		}); err != nil {
			return "", nil, err
		}
	}
	if x := p.object("pointInTimeRecovery"); x != nil {
		if _, err := a.DynamoDB.UpdateContinuousBackups(ctx, &dynamodb.UpdateContinuousBackupsInput{
			TableName:                        &name,
			PointInTimeRecoverySpecification: &dynamodbtypes.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: x.flag("enabled"), RecoveryPeriodInDays: x.number("recoveryPeriodInDays")},
		}); err != nil {
			return "", nil, err
		}
	}
	return name, map[string]any{"arn": *out.TableDescription.TableArn, "streamArn": aws.ToString(out.TableDescription.LatestStreamArn)}, nil
}

func keySchema(hash, sort string) []dynamodbtypes.KeySchemaElement {
	keys := []dynamodbtypes.KeySchemaElement{{AttributeName: &hash, KeyType: dynamodbtypes.KeyTypeHash}}
	if sort != "" {
		keys = append(keys, dynamodbtypes.KeySchemaElement{AttributeName: &sort, KeyType: dynamodbtypes.KeyTypeRange})
	}
	return keys
}

func (a *applier) queue(ctx context.Context, p *properties) (string, map[string]any, error) {
	in := &sqs.CreateQueueInput{QueueName: aws.String(p.text("name")), Attributes: map[string]string{}, Tags: p.texts("tags")}
	for property, attribute := range map[string]string{
		"fifoQueue": "FifoQueue", "deduplicationScope": "DeduplicationScope", "fifoThroughputLimit": "FifoThroughputLimit", "messageRetentionSeconds": "MessageRetentionPeriod",
		"sqsManagedSseEnabled": "SqsManagedSseEnabled", "visibilityTimeoutSeconds": "VisibilityTimeout", "redrivePolicy": "RedrivePolicy",
	} {
		if v := p.any(property); v != nil {
			in.Attributes[attribute] = plain(v)
		}
	}
	out, err := a.SQS.CreateQueue(ctx, in)
	if err != nil {
		return "", nil, err
	}
	a.later(ctx, func(ctx context.Context) error {
		_, err := a.SQS.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl})
		return err
	})
	made, err := a.SQS.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: out.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameQueueArn}})
	if err != nil {
		return "", nil, err
	}
	return *out.QueueUrl, map[string]any{"url": *out.QueueUrl, "arn": made.Attributes["QueueArn"]}, nil
}

// queueAttribute applies a resource that is an attribute of a queue.
func (a *applier) queueAttribute(property, attribute string) func(context.Context, *properties) (string, map[string]any, error) {
	return func(ctx context.Context, p *properties) (string, map[string]any, error) {
		url := p.text("queueUrl")
		_, err := a.SQS.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{attribute: p.text(property)}})
		return url, nil, err
	}
}

func (a *applier) topic(ctx context.Context, p *properties) (string, map[string]any, error) {
	in := &sns.CreateTopicInput{Name: aws.String(p.text("name")), Attributes: map[string]string{"FifoTopic": plain(p.any("fifoTopic"))}}
	for k, v := range p.texts("tags") {
		in.Tags = append(in.Tags, snstypes.Tag{Key: &k, Value: &v})
	}
	out, err := a.SNS.CreateTopic(ctx, in)
	if err != nil {
		return "", nil, err
	}
	a.later(ctx, func(ctx context.Context) error {
		_, err := a.SNS.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: out.TopicArn})
		return err
	})
	return *out.TopicArn, map[string]any{"arn": *out.TopicArn}, nil
}

func (a *applier) subscription(ctx context.Context, p *properties) (string, map[string]any, error) {
	out, err := a.SNS.Subscribe(ctx, &sns.SubscribeInput{
		TopicArn: aws.String(p.text("topic")), Protocol: aws.String(p.text("protocol")), Endpoint: aws.String(p.text("endpoint")), ReturnSubscriptionArn: true,
		Attributes: map[string]string{"RawMessageDelivery": plain(p.any("rawMessageDelivery")), "RedrivePolicy": p.text("redrivePolicy")},
	})
	if err != nil {
		return "", nil, err
	}
	return *out.SubscriptionArn, map[string]any{"arn": *out.SubscriptionArn}, nil
}

func (a *applier) bucket(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("bucket")
	if _, err := a.S3.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: awstest.Region},
	}); err != nil {
		return "", nil, err
	}
	var tags []s3types.Tag
	for k, v := range p.texts("tags") {
		tags = append(tags, s3types.Tag{Key: &k, Value: &v})
	}
	_, err := a.S3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &name, Tagging: &s3types.Tagging{TagSet: tags}})
	return name, map[string]any{"arn": "arn:aws:s3:::" + name}, err
}

func (a *applier) notification(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("bucket")
	to := &s3types.NotificationConfiguration{}
	for _, x := range p.objects("queues") {
		queue := s3types.QueueConfiguration{Id: aws.String(x.text("id")), QueueArn: aws.String(x.text("queueArn"))}
		for _, e := range x.list("events") {
			queue.Events = append(queue.Events, s3types.Event(e))
		}
		var rules []s3types.FilterRule
		for property, of := range map[string]s3types.FilterRuleName{"filterPrefix": s3types.FilterRuleNamePrefix, "filterSuffix": s3types.FilterRuleNameSuffix} {
			if v := x.text(property); v != "" {
				rules = append(rules, s3types.FilterRule{Name: of, Value: &v})
			}
		}
		if rules != nil {
			queue.Filter = &s3types.NotificationConfigurationFilter{Key: &s3types.S3KeyFilter{FilterRules: rules}}
		}
		to.QueueConfigurations = append(to.QueueConfigurations, queue)
	}
	_, err := a.S3.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{Bucket: &name, NotificationConfiguration: to})
	return name, nil, err
}

func (a *applier) publicAccess(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("bucket")
	_, err := a.S3.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &name, PublicAccessBlockConfiguration: &s3types.PublicAccessBlockConfiguration{
		BlockPublicAcls: p.flag("blockPublicAcls"), BlockPublicPolicy: p.flag("blockPublicPolicy"),
		IgnorePublicAcls: p.flag("ignorePublicAcls"), RestrictPublicBuckets: p.flag("restrictPublicBuckets"),
	}})
	return name, nil, err
}

func (a *applier) encryption(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("bucket")
	to := &s3types.ServerSideEncryptionConfiguration{}
	for _, x := range p.objects("rules") {
		algorithm := x.object("applyServerSideEncryptionByDefault").text("sseAlgorithm")
		to.Rules = append(to.Rules, s3types.ServerSideEncryptionRule{
			ApplyServerSideEncryptionByDefault: &s3types.ServerSideEncryptionByDefault{SSEAlgorithm: s3types.ServerSideEncryption(algorithm)},
		})
	}
	_, err := a.S3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: &name, ServerSideEncryptionConfiguration: to})
	return name, nil, err
}

func (a *applier) lifecycle(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("bucket")
	to := &s3types.BucketLifecycleConfiguration{}
	for _, x := range p.objects("rules") {
		x.object("filter") // of everything
		to.Rules = append(to.Rules, s3types.LifecycleRule{
			ID: aws.String(x.text("id")), Status: s3types.ExpirationStatus(x.text("status")), Filter: &s3types.LifecycleRuleFilter{},
			AbortIncompleteMultipartUpload: &s3types.AbortIncompleteMultipartUpload{DaysAfterInitiation: x.object("abortIncompleteMultipartUpload").number("daysAfterInitiation")},
		})
	}
	_, err := a.S3.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: &name, LifecycleConfiguration: to})
	return name, nil, err
}

func (a *applier) role(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("name")
	in := &iam.CreateRoleInput{RoleName: &name, Description: aws.String(p.text("description")), AssumeRolePolicyDocument: aws.String(p.text("assumeRolePolicy"))}
	for k, v := range p.texts("tags") {
		in.Tags = append(in.Tags, iamtypes.Tag{Key: &k, Value: &v})
	}
	out, err := a.iam.CreateRole(ctx, in)
	if err != nil {
		return "", nil, err
	}
	return name, map[string]any{"arn": *out.Role.Arn}, nil
}

// miniStackAsks rewrites rights that MiniStack checks differently from AWS: there a
// batch is a separate action, and every schedule belongs to the group default.
func miniStackAsks(policy string) string {
	for _, action := range []string{"sns:Publish", "sqs:SendMessage", "sqs:ChangeMessageVisibility"} {
		policy = strings.ReplaceAll(policy, `"`+action+`"`, `"`+action+`","`+action+`Batch"`)
	}
	return scheduleOfGroup.ReplaceAllString(policy, ":schedule/default/*")
}

var scheduleOfGroup = regexp.MustCompile(`:schedule/[^/"]+/\*`)

func (a *applier) rolePolicy(ctx context.Context, p *properties) (string, map[string]any, error) {
	role, name := p.text("role"), p.text("name")
	_, err := a.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: aws.String(miniStackAsks(p.text("policy")))})
	return role + ":" + name, nil, err
}

func (a *applier) function(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("name")
	p.text("code")
	p.list("architectures")
	host := lambdatypes.ArchitectureX8664
	if runtime.GOARCH == "arm64" {
		host = lambdatypes.ArchitectureArm64
	}
	environment := p.object("environment").texts("variables")
	environment["AWS_ENDPOINT_URL"] = a.endpoint(name)
	logging := p.object("loggingConfig")
	out, err := a.Lambda.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Description: aws.String(p.text("description")), Runtime: lambdatypes.Runtime(p.text("runtime")), Handler: aws.String(p.text("handler")), Role: aws.String(p.text("role")),
		Architectures: []lambdatypes.Architecture{host}, Code: &lambdatypes.FunctionCode{ZipFile: a.code},
		MemorySize: p.number("memorySize"), Timeout: p.number("timeout"), Environment: &lambdatypes.Environment{Variables: environment},
		LoggingConfig: &lambdatypes.LoggingConfig{
			LogFormat: lambdatypes.LogFormat(logging.text("logFormat")), LogGroup: aws.String(logging.text("logGroup")),
			ApplicationLogLevel: lambdatypes.ApplicationLogLevel(logging.text("applicationLogLevel")), SystemLogLevel: lambdatypes.SystemLogLevel(logging.text("systemLogLevel")),
		},
		TracingConfig: &lambdatypes.TracingConfig{Mode: lambdatypes.TracingMode(p.object("tracingConfig").text("mode"))}, Tags: p.texts("tags"),
	})
	if err != nil {
		return "", nil, err
	}
	a.later(ctx, func(ctx context.Context) error {
		_, err := a.Lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name})
		return err
	})
	return name, map[string]any{"arn": *out.FunctionArn}, nil
}

func (a *applier) mapping(ctx context.Context, p *properties) (string, map[string]any, error) {
	in := &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String(p.text("functionName")), EventSourceArn: aws.String(p.text("eventSourceArn")), BatchSize: p.number("batchSize"),
		StartingPosition: lambdatypes.EventSourcePosition(p.text("startingPosition")), ParallelizationFactor: p.number("parallelizationFactor"),
		BisectBatchOnFunctionError: p.flag("bisectBatchOnFunctionError"), MaximumRetryAttempts: p.number("maximumRetryAttempts"), MaximumRecordAgeInSeconds: p.number("maximumRecordAgeInSeconds"),
		Tags: p.texts("tags"),
	}
	for _, x := range p.list("functionResponseTypes") {
		in.FunctionResponseTypes = append(in.FunctionResponseTypes, lambdatypes.FunctionResponseType(x))
	}
	if x := p.object("destinationConfig"); x != nil {
		in.DestinationConfig = &lambdatypes.DestinationConfig{OnFailure: &lambdatypes.OnFailure{Destination: aws.String(x.object("onFailure").text("destinationArn"))}}
	}
	if x := p.object("metricsConfig"); x != nil {
		in.MetricsConfig = &lambdatypes.EventSourceMappingMetricsConfig{}
		for _, m := range x.list("metrics") {
			in.MetricsConfig.Metrics = append(in.MetricsConfig.Metrics, lambdatypes.EventSourceMappingMetric(m))
		}
	}
	out, err := a.Lambda.CreateEventSourceMapping(ctx, in)
	if err != nil {
		return "", nil, err
	}
	a.later(ctx, func(ctx context.Context) error {
		_, err := a.Lambda.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: out.UUID})
		return err
	})
	return *out.UUID, map[string]any{"uuid": *out.UUID}, nil
}

func (a *applier) logGroup(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("name")
	_, err := a.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &name, Tags: p.texts("tags")})
	if err == nil {
		_, err = a.logs.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: &name, RetentionInDays: p.number("retentionInDays")})
	}
	return name, nil, err
}

func (a *applier) alarm(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("name")
	threshold, _ := property[float64](p, "threshold")
	in := &cloudwatch.PutMetricAlarmInput{
		AlarmName: &name, AlarmDescription: aws.String(p.text("alarmDescription")), Namespace: aws.String(p.text("namespace")), MetricName: aws.String(p.text("metricName")),
		Statistic: cloudwatchtypes.Statistic(p.text("statistic")), ComparisonOperator: cloudwatchtypes.ComparisonOperator(p.text("comparisonOperator")), Threshold: &threshold,
		Period: p.number("period"), EvaluationPeriods: p.number("evaluationPeriods"), TreatMissingData: aws.String(p.text("treatMissingData")),
	}
	for k, v := range p.texts("dimensions") {
		in.Dimensions = append(in.Dimensions, cloudwatchtypes.Dimension{Name: &k, Value: &v})
	}
	for k, v := range p.texts("tags") {
		in.Tags = append(in.Tags, cloudwatchtypes.Tag{Key: &k, Value: &v})
	}
	_, err := a.cloudwatch.PutMetricAlarm(ctx, in)
	return name, map[string]any{"arn": "arn:aws:cloudwatch:" + awstest.Region + ":" + awstest.Account + ":alarm:" + name}, err
}

func (a *applier) rule(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("name")
	in := &eventbridge.PutRuleInput{Name: &name, Description: aws.String(p.text("description")), ScheduleExpression: aws.String(p.text("scheduleExpression"))}
	for k, v := range p.texts("tags") {
		in.Tags = append(in.Tags, eventbridgetypes.Tag{Key: &k, Value: &v})
	}
	out, err := a.EventBridge.PutRule(ctx, in)
	if err != nil {
		return "", nil, err
	}
	a.later(ctx, func(ctx context.Context) error {
		_, err := a.EventBridge.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: &name})
		return err
	})
	return name, map[string]any{"arn": *out.RuleArn}, nil
}

func (a *applier) target(ctx context.Context, p *properties) (string, map[string]any, error) {
	rule, id := p.text("rule"), p.text("targetId")
	transformer := p.object("inputTransformer")
	out, err := a.EventBridge.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: &rule, Targets: []eventbridgetypes.Target{{
		Id: &id, Arn: aws.String(p.text("arn")), DeadLetterConfig: &eventbridgetypes.DeadLetterConfig{Arn: aws.String(p.object("deadLetterConfig").text("arn"))},
		InputTransformer: &eventbridgetypes.InputTransformer{InputPathsMap: transformer.texts("inputPaths"), InputTemplate: aws.String(transformer.text("inputTemplate"))},
	}}})
	if err == nil && out.FailedEntryCount > 0 {
		err = fmt.Errorf("the target was not accepted: %s", aws.ToString(out.FailedEntries[0].ErrorMessage))
	}
	a.later(ctx, func(ctx context.Context) error {
		_, err := a.EventBridge.RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{Rule: &rule, Ids: []string{id}})
		return err
	})
	return rule + "-" + id, nil, err
}

func (a *applier) scheduleGroup(ctx context.Context, p *properties) (string, map[string]any, error) {
	name := p.text("name")
	in := &scheduler.CreateScheduleGroupInput{Name: &name}
	for k, v := range p.texts("tags") {
		in.Tags = append(in.Tags, schedulertypes.Tag{Key: &k, Value: &v})
	}
	out, err := a.Scheduler.CreateScheduleGroup(ctx, in)
	if err != nil {
		return "", nil, err
	}
	a.later(ctx, func(ctx context.Context) error {
		_, err := a.Scheduler.DeleteScheduleGroup(ctx, &scheduler.DeleteScheduleGroupInput{Name: &name})
		return err
	})
	return name, map[string]any{"arn": *out.ScheduleGroupArn}, nil
}

func (a *applier) schedule(ctx context.Context, p *properties) (string, map[string]any, error) {
	group, name, target := p.text("groupName"), p.text("name"), p.object("target")
	_, err := a.Scheduler.CreateSchedule(ctx, &scheduler.CreateScheduleInput{
		GroupName: &group, Name: &name, Description: aws.String(p.text("description")),
		ScheduleExpression: aws.String(p.text("scheduleExpression")), ScheduleExpressionTimezone: aws.String(p.text("scheduleExpressionTimezone")),
		FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowMode(p.object("flexibleTimeWindow").text("mode"))},
		Target: &schedulertypes.Target{
			Arn: aws.String(target.text("arn")), RoleArn: aws.String(target.text("roleArn")), Input: aws.String(target.text("input")),
			DeadLetterConfig: &schedulertypes.DeadLetterConfig{Arn: aws.String(target.object("deadLetterConfig").text("arn"))},
		},
	})
	return group + "/" + name, nil, err
}

// properties are the properties of a resource. They record which of them were read.
type properties struct {
	values map[string]any
	seen   map[string]bool
	below  map[string][]*properties
	wrong  *[]error // of all levels
}

func newProperties(values map[string]any) *properties {
	return &properties{values, map[string]bool{}, map[string][]*properties{}, new([]error)}
}

// any returns a property, or nil.
func (p *properties) any(k string) any {
	if p == nil {
		return nil
	}
	p.seen[k] = true
	return p.values[k]
}

// property returns a property, or the zero value.
func property[T any](p *properties, k string) (value T, ok bool) {
	v := p.any(k)
	if v == nil {
		return value, false
	}
	if value, ok = v.(T); !ok {
		*p.wrong = append(*p.wrong, fmt.Errorf("%s is %v, which is no %v", k, v, reflect.TypeFor[T]()))
	}
	return value, ok
}

func (p *properties) text(k string) string {
	s, _ := property[string](p, k)
	return s
}

func (p *properties) flag(k string) *bool {
	b, ok := property[bool](p, k)
	if !ok {
		return nil
	}
	return &b
}

func (p *properties) number(k string) *int32 {
	f, ok := property[float64](p, k)
	if !ok {
		return nil
	}
	return aws.Int32(int32(f))
}

func (p *properties) list(k string) []string {
	values, _ := property[[]any](p, k)
	var out []string
	for _, v := range values {
		out = append(out, plain(v))
	}
	return out
}

func (p *properties) texts(k string) map[string]string {
	values, _ := property[map[string]any](p, k)
	out := map[string]string{}
	for name, v := range values {
		out[name] = plain(v)
	}
	return out
}

// plain is a value as services take it that know texts only.
func plain(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64) // nothing like 1e+06
	}
	return fmt.Sprint(v)
}

// object returns the properties of a nested object. They are nil without such an
// object; the methods of nil return zero values.
func (p *properties) object(k string) *properties {
	values, ok := property[map[string]any](p, k)
	if !ok {
		return nil
	}
	return p.add(k, values)
}

func (p *properties) objects(k string) []*properties {
	values, _ := property[[]any](p, k)
	for _, v := range values {
		values, _ := v.(map[string]any)
		p.add(k, values)
	}
	return p.below[k]
}

func (p *properties) add(k string, values map[string]any) *properties {
	x := &properties{values, map[string]bool{}, map[string][]*properties{}, p.wrong}
	p.below[k] = append(p.below[k], x)
	return x
}

// done returns an error if a property has an unexpected type or was not read.
func (p *properties) done() error {
	return errors.Join(append(*p.wrong, p.unseen("")...)...)
}

func (p *properties) unseen(path string) []error {
	var found []error
	for _, k := range slices.Sorted(maps.Keys(p.values)) {
		if !p.seen[k] {
			found = append(found, fmt.Errorf("the applier does not know the property %s", path+k))
		}
		for _, x := range p.below[k] {
			found = append(found, x.unseen(path+k+".")...)
		}
	}
	return found
}
