// Package task is the bucket of a task on S3, and decodes the notifications of its
// objects' events.
//
// Objects are stored under their own keys. The deployment has the bucket
// notify a standard SQS queue of s3:ObjectCreated:*, s3:ObjectRemoved:* and
// s3:LifecycleExpiration:*; S3 does not support FIFO queues for notifications. S3 answers a
// role that must not list the bucket with 403 instead of 404 for a missing object: the
// driver needs s3:ListBucket for Get as well.
//
// Get and Delete are one request, List one for each 1,000 keys that it passes, Put
// one for up to 8 MiB; what is larger is uploaded in parts of 8 MiB and more,
// three requests and one for each part. Bodies are not held in memory beyond one
// part.
package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/aws/internal/failure"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/objectkey"
)

const (
	// partBytes is the size of a part. An upload has at most 10,000 parts, so parts
	// become larger after every thousand.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
	partBytes = 8 << 20
	moreAfter = 1000

	// maxPage is the maximum number of keys that one request lists.
	maxPage = 1000

	// abortTime is the timeout for aborting a failed upload.
	abortTime = 10 * time.Second
)

// Bucket is a bucket.
type Bucket struct {
	name string
	s3   *s3.Client
}

var _ driver.Bucket = (*Bucket)(nil)

// Open returns the bucket with a name. It makes no request: a missing bucket is
// [driver.ErrUnavailable] at the first call.
func Open(client *s3.Client, bucket string) *Bucket { return &Bucket{bucket, client} }

// Put implements [driver.Bucket].
func (b *Bucket) Put(ctx context.Context, key string, body io.Reader) error {
	if err := b.put(ctx, key, body); err != nil {
		return fmt.Errorf("bucket %s: put %.100q: %w", b.name, key, err)
	}
	return nil
}

func (b *Bucket) put(ctx context.Context, key string, body io.Reader) error {
	if err := objectkey.Check(key); err != nil {
		return err
	}
	// Errors of the body are not errors of the service: they have no class.
	var part bytes.Buffer
	if _, err := part.ReadFrom(io.LimitReader(body, partBytes)); err != nil {
		return err
	}
	if part.Len() == partBytes {
		return b.upload(ctx, key, &part, body)
	}
	_, err := b.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: bytes.NewReader(part.Bytes())})
	return classify(err)
}

// upload stores an object in parts; the last request creates it.
func (b *Bucket) upload(ctx context.Context, key string, part *bytes.Buffer, body io.Reader) (err error) {
	upload, err := b.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b.name, Key: &key})
	if err != nil {
		return classify(err)
	}
	defer func() {
		if err == nil {
			return
		}
		// Parts of incomplete uploads cost storage; a rule of the bucket should delete
		// parts that this request cannot.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		if _, abortErr := b.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.name, Key: &key, UploadId: upload.UploadId}); abortErr != nil {
			err = fmt.Errorf("%w (and its parts are not deleted: %w)", err, abortErr)
		}
	}()
	var parts []types.CompletedPart
	for part.Len() > 0 {
		n := int32(len(parts)) + 1 //nolint:gosec // at most 10,000
		out, err := b.s3.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &b.name, Key: &key, UploadId: upload.UploadId, PartNumber: &n, Body: bytes.NewReader(part.Bytes()),
		})
		if err != nil {
			return classify(err)
		}
		parts = append(parts, types.CompletedPart{
			PartNumber: &n, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C,
			ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256,
		})
		part.Reset()
		if _, err := part.ReadFrom(io.LimitReader(body, int64(partBytes*(1+len(parts)/moreAfter)))); err != nil {
			return err
		}
	}
	_, err = b.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &b.name, Key: &key, UploadId: upload.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return classify(err)
}

// Get implements [driver.Bucket]. The body is read from the service while the
// caller reads it.
func (b *Bucket) Get(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
	body, o, err := b.get(ctx, key)
	if err != nil {
		return nil, driver.Object{}, fmt.Errorf("bucket %s: get %.100q: %w", b.name, key, err)
	}
	return body, o, nil
}

func (b *Bucket) get(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
	if err := objectkey.Check(key); err != nil {
		return nil, driver.Object{}, err
	}
	out, err := b.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		return nil, driver.Object{}, classify(err)
	}
	return out.Body, driver.Object{Key: key, Size: aws.ToInt64(out.ContentLength), ModifiedAt: aws.ToTime(out.LastModified).Truncate(time.Second)}, nil
}

// Delete implements [driver.Bucket].
func (b *Bucket) Delete(ctx context.Context, key string) error {
	err := objectkey.Check(key)
	if err == nil {
		_, err = b.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: &key})
		if err = classify(err); errors.Is(err, driver.ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("bucket %s: delete %.100q: %w", b.name, key, err)
	}
	return nil
}

// List implements [driver.Bucket]. It omits objects with keys that a [driver.Bucket]
// refuses, such as the folders of the console.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
	list, err := b.list(ctx, prefix, after, limit)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: list %d of %.100q after %.100q: %w", b.name, limit, prefix, after, err)
	}
	return list, nil
}

func (b *Bucket) list(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
	if limit < 1 {
		return nil, driver.ErrInvalid
	}
	in := &s3.ListObjectsV2Input{
		Bucket: &b.name, MaxKeys: aws.Int32(int32(min(limit, maxPage))), //nolint:gosec // it is small
		// XML cannot represent every character of a key.
		EncodingType: types.EncodingTypeUrl,
	}
	// The request cannot express every prefix and start: compare here as well.
	if p := sendable(prefix); p != "" {
		in.Prefix = &p
	}
	if a := sendable(after); a != "" {
		in.StartAfter = &a
	}
	var list []driver.Object
	for {
		out, err := b.s3.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, classify(err)
		}
		for _, o := range out.Contents {
			key, err := url.QueryUnescape(aws.ToString(o.Key))
			if err != nil {
				return nil, fmt.Errorf("key %.100q in the answer: %w: %w", aws.ToString(o.Key), driver.ErrInvalid, err)
			}
			if key <= after || !strings.HasPrefix(key, prefix) || objectkey.Check(key) != nil {
				continue
			}
			list = append(list, driver.Object{Key: key, Size: aws.ToInt64(o.Size), ModifiedAt: aws.ToTime(o.LastModified).Truncate(time.Second)})
			if len(list) == limit {
				return list, nil
			}
		}
		if !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil {
			return list, nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

// sendable returns the longest start of s that a request can contain: UTF-8, and at most
// the length of a key.
func sendable(s string) string {
	for i, r := range s {
		size := utf8.RuneLen(r)
		if r == utf8.RuneError {
			_, size = utf8.DecodeRuneInString(s[i:])
		}
		if r == utf8.RuneError && size < 2 || i+size > objectkey.MaxBytes {
			return s[:i]
		}
	}
	return s
}

// The codes that have a class.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var (
	throttled   = []string{"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "TooManyRequestsException", "BandwidthLimitExceeded"}
	unavailable = []string{"InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException", "OperationAborted", "NoSuchBucket", "NoSuchUpload"}
	missing     = []string{"NoSuchKey", "NotFound"}
)

// classify wraps an error of S3 with its class. A missing bucket is not a missing
// object.
func classify(err error) error { return failure.Classify(err, classOf) }

func classOf(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch code := api.ErrorCode(); {
		case slices.Contains(missing, code):
			return driver.ErrNotFound
		case slices.Contains(throttled, code):
			return driver.ErrThrottled
		case slices.Contains(unavailable, code):
			return driver.ErrUnavailable
		}
		return nil
	}
	var response *awshttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() == 404 { // its body contains the key, which XML cannot always represent
		return driver.ErrNotFound
	}
	return nil
}
