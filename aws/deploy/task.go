package deploy

import (
	"net/url"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/s3"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/sqs"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/topology"
)

// abortDays is the number of days after which the parts of an incomplete upload are removed.
const abortDays = 7

// taskBucket is the resource that groups a bucket and, if a task watches the bucket, the
// queue for its notifications.
type taskBucket struct {
	pulumi.ResourceState
	bucket *s3.Bucket
}

func (d *deployment) makeTask(c topology.Component) error {
	r := &taskBucket{}
	parent, err := d.register("Task", c.Name, r)
	if err != nil {
		return err
	}
	if r.bucket, err = d.makeBucket(naming.Bucket, c.Name, parent); err != nil {
		return err
	}
	outputs := pulumi.Map{"bucket": r.bucket.Bucket}
	if watcher, ok := d.watcher(c.Name); ok {
		q, err := d.makeQueue(naming.Objects, naming.ObjectsDLQ, c.Name, parent)
		if err != nil {
			return err
		}
		if err := d.notify(c.Name, watcher, r.bucket, q, parent); err != nil {
			return err
		}
		outputs["queue"] = q.queue.Url
	}
	return d.ctx.RegisterResourceOutputs(r, outputs)
}

// watcher returns the task that watches a bucket; there is at most one.
func (d *deployment) watcher(bucket string) (topology.Component, bool) {
	for _, p := range d.app.Plugins {
		for _, c := range p.Components {
			if c.Kind == "Task" && c.Bucket == bucket {
				return c, true
			}
		}
	}
	return topology.Component{}, false
}

// notify configures a bucket to send notifications to a queue. The queue policy must
// exist first, because S3 sends a test message as soon as it is configured.
func (d *deployment) notify(name string, watcher topology.Component, bucket *s3.Bucket, q *queue, parent pulumi.ResourceOption) error {
	allowed, err := sqs.NewQueuePolicy(d.ctx, d.label(name, naming.Objects.String()), &sqs.QueuePolicyArgs{
		QueueUrl: q.queue.Url,
		Policy: pulumi.String(document(statement{
			Effect: "Allow", Principal: map[string]string{"Service": "s3.amazonaws.com"}, Action: []string{"sqs:SendMessage"},
			Resource: []string{d.queueARN(naming.Objects, name)},
			Condition: map[string]map[string]values{
				"ArnEquals":    {"aws:SourceArn": {d.bucketARN(naming.Bucket, name)}},
				"StringEquals": {"aws:SourceAccount": {d.account}},
			},
		})),
	}, parent)
	if err != nil {
		return err
	}
	events := s3.BucketNotificationQueueArgs{
		Id: pulumi.String("objects"), QueueArn: q.queue.Arn,
		Events: pulumi.ToStringArray([]string{"s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"}),
	}
	if watcher.Prefix != "" {
		events.FilterPrefix = pulumi.String(encoded(watcher.Prefix))
	}
	if watcher.Suffix != "" {
		events.FilterSuffix = pulumi.String(encoded(watcher.Suffix))
	}
	_, err = s3.NewBucketNotification(d.ctx, d.label(name, naming.Bucket.String()), &s3.BucketNotificationArgs{
		Bucket: bucket.Bucket, Queues: s3.BucketNotificationQueueArray{events},
	}, parent, pulumi.DependsOn([]pulumi.Resource{allowed}))
	return err
}

// encoded encodes the prefix or suffix of a key for the filter of a notification.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html
func encoded(part string) string {
	return strings.ReplaceAll(url.QueryEscape(part), "%2F", "/")
}

// makeBucket creates a bucket that is encrypted and not accessible from outside the
// account.
func (d *deployment) makeBucket(k naming.Kind, component string, parent pulumi.ResourceOption) (*s3.Bucket, error) {
	protect := d.args.ofData(component).Protect == On
	label := d.label(component, k.String())
	bucket, err := s3.NewBucket(d.ctx, label, &s3.BucketArgs{
		Bucket: pulumi.String(d.bucket(k, component)), ForceDestroy: pulumi.Bool(!protect), Tags: d.tags(component),
	}, dataOptions(parent, protect)...)
	if err != nil {
		return nil, err
	}
	if _, err = s3.NewBucketPublicAccessBlock(d.ctx, label, &s3.BucketPublicAccessBlockArgs{
		Bucket: bucket.Bucket, BlockPublicAcls: pulumi.Bool(true), BlockPublicPolicy: pulumi.Bool(true),
		IgnorePublicAcls: pulumi.Bool(true), RestrictPublicBuckets: pulumi.Bool(true),
	}, parent); err != nil {
		return nil, err
	}
	if _, err = s3.NewBucketServerSideEncryptionConfiguration(d.ctx, label, &s3.BucketServerSideEncryptionConfigurationArgs{
		Bucket: bucket.Bucket,
		Rules: s3.BucketServerSideEncryptionConfigurationRuleArray{s3.BucketServerSideEncryptionConfigurationRuleArgs{
			ApplyServerSideEncryptionByDefault: s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs{SseAlgorithm: pulumi.String("AES256")},
		}},
	}, parent); err != nil {
		return nil, err
	}
	_, err = s3.NewBucketLifecycleConfiguration(d.ctx, label, &s3.BucketLifecycleConfigurationArgs{
		Bucket: bucket.Bucket,
		Rules: s3.BucketLifecycleConfigurationRuleArray{s3.BucketLifecycleConfigurationRuleArgs{
			Id: pulumi.String("abandoned-uploads"), Status: pulumi.String("Enabled"), Filter: s3.BucketLifecycleConfigurationRuleFilterArgs{},
			AbortIncompleteMultipartUpload: s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs{DaysAfterInitiation: pulumi.Int(abortDays)},
		}},
	}, parent)
	return bucket, err
}
