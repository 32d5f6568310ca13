// The AWS SDK for Go v2: names, versions, conditions and errors.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

var (
	client = s3.NewFromConfig(must(config.LoadDefaultConfig(ctx)), func(options *s3.Options) {
		options.BaseEndpoint = aws.String(endpoint)
		options.UsePathStyle = true
		if transport != nil {
			options.HTTPClient = &http.Client{Transport: transport}
		}
		// A second try would hide what the first one met.
		options.RetryMaxAttempts = 1
	})

	awsWork = map[string]func(){
		"objects":    awsObjects,
		"streams":    awsStreams,
		"checksums":  awsChecksums,
		"manager":    awsManager,
		"transfer":   awsTransfer,
		"names":      awsNames,
		"presigned":  awsPresigned,
		"versions":   awsVersions,
		"conditions": awsConditions,
		"errors":     awsErrors,
	}
)

func at(key string) *string { return aws.String(prefix + key) }

func awsList() map[string]int64 {
	seen := map[string]int64{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		for _, entry := range must(pages.NextPage(ctx)).Contents {
			seen[*entry.Key] = *entry.Size
		}
	}
	return seen
}

func awsPut(key string, body []byte) *s3.PutObjectOutput {
	return must(client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: at(key), Body: bytes.NewReader(body)}))
}

// The client compares the checksum of a whole object itself.
func awsHas(key string, body []byte) *s3.GetObjectOutput {
	got := must(client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: at(key), ChecksumMode: types.ChecksumModeEnabled}))
	defer got.Body.Close()
	sameBytes(must(io.ReadAll(got.Body)), body)
	return got
}

func awsHead(key string) *s3.HeadObjectOutput {
	return must(client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: at(key), ChecksumMode: types.ChecksumModeEnabled}))
}

func awsRefused(err error, code string, status int) {
	var named smithy.APIError
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(err, &named) || !errors.As(err, &answer) {
		panic(fmt.Sprintf("%s %d is expected, and not %v", code, status, err))
	}
	same([]any{named.ErrorCode(), answer.HTTPStatusCode()}, []any{code, status})
}

var algorithms = []types.ChecksumAlgorithm{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"}

// The one checksum that an answer has.
func awsSum(answer any) string {
	all := []string{}
	for _, algorithm := range algorithms {
		if sum, _ := reflect.ValueOf(answer).Elem().FieldByName("Checksum" + string(algorithm)).Interface().(*string); sum != nil {
			all = append(all, *sum)
		}
	}
	same(len(all), 1)
	return all[0]
}

func awsNames() {
	expected, objects := []string{}, []types.ObjectIdentifier{}
	for _, name := range names {
		put := awsPut(name, []byte(name))
		awsHas(name, []byte(name))
		expected = append(expected, prefix+name)
		objects = append(objects, types.ObjectIdentifier{Key: at(name), ETag: put.ETag})
	}
	slices.Sort(expected)
	for _, encoding := range []types.EncodingType{"", types.EncodingTypeUrl} {
		seen := []string{}
		pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, EncodingType: encoding},
			func(options *s3.ListObjectsV2PaginatorOptions) { options.Limit = 3 })
		for pages.HasMorePages() {
			for _, entry := range must(pages.NextPage(ctx)).Contents {
				key := *entry.Key
				if encoding != "" {
					key = must(url.QueryUnescape(key))
				}
				seen = append(seen, key)
			}
		}
		same(seen, expected)
	}
	wrong := types.ObjectIdentifier{Key: objects[0].Key, ETag: aws.String(`"` + md5Hex([]byte("other")) + `"`)}
	deleted := must(client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{
		Objects: append(slices.Clone(objects[1:]), wrong),
	}}))
	gone := []string{}
	for _, entry := range deleted.Deleted {
		gone = append(gone, *entry.Key)
	}
	slices.Sort(gone)
	same(gone, slices.DeleteFunc(slices.Clone(expected), func(key string) bool { return key == *wrong.Key }))
	same([]any{len(deleted.Errors), *deleted.Errors[0].Code, *deleted.Errors[0].Key}, []any{1, "PreconditionFailed", *wrong.Key})
	for _, quiet := range []bool{false, true} {
		for _, algorithm := range algorithms {
			one := &types.Delete{Objects: []types.ObjectIdentifier{{Key: wrong.Key}}, Quiet: &quiet}
			deleted = must(client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, ChecksumAlgorithm: algorithm, Delete: one}))
			same([]int{len(deleted.Errors), len(deleted.Deleted)}, map[bool][]int{false: {0, 1}, true: {0, 0}}[quiet])
		}
	}
}

func awsVersions() {
	versioned := os.Getenv("VERSIONED")
	must(client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &versioned, VersioningConfiguration: &types.VersioningConfiguration{
		Status: types.BucketVersioningStatusEnabled,
	}}))
	expected := []string{}
	sorted := slices.Sorted(slices.Values(names))
	for _, name := range sorted {
		ids := []string{}
		for range 3 {
			put := &s3.PutObjectInput{Bucket: &versioned, Key: at(name), Body: strings.NewReader(name)}
			ids = append(ids, *must(client.PutObject(ctx, put)).VersionId)
		}
		gone := must(client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &versioned, Key: at(name)}))
		same(*gone.DeleteMarker, true)
		ids = append(ids, *gone.VersionId)
		slices.Reverse(ids)
		for _, id := range ids {
			expected = append(expected, prefix+name+" "+id)
		}
		first := must(client.GetObject(ctx, &s3.GetObjectInput{Bucket: &versioned, Key: at(name), VersionId: &ids[3]}))
		same(string(must(io.ReadAll(first.Body))), name)
	}
	// Versions and markers come apart, so a page is compared as a set.
	seen, objects := []string{}, []types.ObjectIdentifier{}
	pages := s3.NewListObjectVersionsPaginator(client, &s3.ListObjectVersionsInput{Bucket: &versioned, Prefix: &prefix},
		func(options *s3.ListObjectVersionsPaginatorOptions) { options.Limit = 7 })
	for pages.HasMorePages() {
		page := must(pages.NextPage(ctx))
		same(len(page.Versions)+len(page.DeleteMarkers) <= 7, true)
		for _, entry := range page.Versions {
			objects = append(objects, types.ObjectIdentifier{Key: entry.Key, VersionId: entry.VersionId})
		}
		for _, entry := range page.DeleteMarkers {
			objects = append(objects, types.ObjectIdentifier{Key: entry.Key, VersionId: entry.VersionId})
			same(*entry.IsLatest, true)
		}
	}
	for _, version := range objects {
		seen = append(seen, *version.Key+" "+*version.VersionId)
	}
	slices.Sort(seen)
	slices.Sort(expected)
	same(seen, expected)
	deleted := must(client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &versioned, Delete: &types.Delete{Objects: objects}}))
	same([]int{len(deleted.Deleted), len(deleted.Errors)}, []int{len(expected), 0})
	left := must(client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &versioned, Prefix: &prefix}))
	same(len(left.Versions)+len(left.DeleteMarkers), 0)
}

func awsConditions() {
	must(client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: at("once")}))
	put := func(body string, match, noneMatch *string) (*s3.PutObjectOutput, error) {
		return client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &bucket, Key: at("once"), Body: strings.NewReader(body), IfMatch: match, IfNoneMatch: noneMatch,
		})
	}
	_, err := put("0", aws.String(`"`+md5Hex(nil)+`"`), nil)
	awsRefused(err, "NoSuchKey", 404)
	first := must(put("1", nil, aws.String("*")))
	_, err = put("2", nil, aws.String("*"))
	awsRefused(err, "PreconditionFailed", 412)
	must(put("three", first.ETag, nil))
	_, err = put("4", first.ETag, nil)
	awsRefused(err, "PreconditionFailed", 412)
	now := awsHas("once", []byte("three"))
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: at("once"), IfNoneMatch: now.ETag})
	var answer interface{ HTTPStatusCode() int }
	same([]any{errors.As(err, &answer), answer.HTTPStatusCode()}, []any{true, 304})
	_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: at("once"), IfMatch: first.ETag})
	awsRefused(err, "PreconditionFailed", 412)
	_, err = client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &bucket, Key: at("copy"), CopySource: aws.String(bucket + "/" + prefix + "once"), CopySourceIfMatch: first.ETag,
	})
	awsRefused(err, "PreconditionFailed", 412)
}

func awsErrors() {
	_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: at("nothing")})
	var key *types.NoSuchKey
	same(errors.As(err, &key), true)
	_, err = client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: at("nothing")})
	var none *types.NotFound
	same(errors.As(err, &none), true)
	missing := "no-such-bucket-of-ours"
	_, err = client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &missing})
	var noBucket *types.NoSuchBucket
	same(errors.As(err, &noBucket), true)
	_, err = client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &missing})
	same(errors.As(err, &none), true)
	_, err = client.ListParts(ctx, &s3.ListPartsInput{Bucket: &bucket, Key: at("nothing"), UploadId: aws.String("nothing")})
	awsRefused(err, "NoSuchUpload", 404)
	_, err = client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: at("nothing"), UploadId: aws.String("nothing")})
	var noUpload *types.NoSuchUpload
	same(errors.As(err, &noUpload), true)
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: at("nothing"), ExpectedBucketOwner: aws.String("123456789012")})
	awsRefused(err, "AccessDenied", 403)
	var id interface{ ServiceRequestID() string }
	same([]any{errors.As(err, &id), id.ServiceRequestID() != ""}, []any{true, true})
}
