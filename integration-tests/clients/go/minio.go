// minio-go: buckets, names and conditions.

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

var (
	store = newMinio(true, os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"))
	// Without a trailer there is no checksum: chunks with signatures alone.
	plain = newMinio(false, os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"))

	minioWork = map[string]func(){
		"buckets":    minioBuckets,
		"objects":    minioObjects,
		"checksums":  minioChecksums,
		"large":      minioLarge,
		"streams":    minioStreams,
		"names":      minioNames,
		"compose":    minioCompose,
		"presigned":  minioPresigned,
		"incomplete": minioIncomplete,
		"conditions": minioConditions,
		"settings":   minioSettings,
		"versions":   minioVersions,
		"locked":     minioLocked,
	}
)

func newMinio(trailers bool, access, secret string) *minio.Client {
	to := must(url.Parse(endpoint))
	// MaxRetries 1: a second try would hide what the first one met.
	return must(minio.New(to.Host, &minio.Options{
		Creds:           credentials.NewStaticV4(access, secret, ""),
		Region:          "us-east-1",
		Secure:          to.Scheme == "https",
		Transport:       transport,
		BucketLookup:    minio.BucketLookupPath,
		TrailingHeaders: trailers,
		MaxRetries:      1,
	}))
}

func minioList() map[string]int64 {
	seen := map[string]int64{}
	for entry := range store.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		ok(entry.Err)
		seen[entry.Key] = entry.Size
	}
	return seen
}

func minioPut(key string, body []byte, options minio.PutObjectOptions) minio.UploadInfo {
	return must(store.PutObject(ctx, bucket, prefix+key, bytes.NewReader(body), int64(len(body)), options))
}

// The client compares the checksum of a whole object itself.
func minioHas(key string, body []byte) {
	object := must(store.GetObject(ctx, bucket, prefix+key, minio.GetObjectOptions{Checksum: true}))
	defer object.Close()
	sameBytes(must(io.ReadAll(object)), body)
}

func minioStat(key string) minio.ObjectInfo {
	return must(store.StatObject(ctx, bucket, prefix+key, minio.StatObjectOptions{Checksum: true}))
}

func minioRefused(err error, code string, status int) {
	answer := minio.ToErrorResponse(err)
	same([]any{answer.Code, answer.StatusCode}, []any{code, status})
}

// What S3 says of a composite checksum: that of the parts' checksums, and how many parts there are.
func composite(kind minio.ChecksumType, body []byte, partSize int) string {
	var sums []byte
	count := 0
	for part := range slices.Chunk(body, partSize) {
		sums = append(sums, kind.ChecksumBytes(part).Raw()...)
		count++
	}
	return fmt.Sprintf("%s-%d", kind.ChecksumBytes(sums).Encoded(), count)
}

func minioBuckets() {
	maker := newMinio(true, os.Getenv("MAKER_KEY"), os.Getenv("MAKER_SECRET"))
	// A name of its own: one that was deleted is not free until the bucket is empty.
	made := fmt.Sprintf("made-by-minio-go-%x", random(4))
	same(must(maker.BucketExists(ctx, made)), false)
	ok(maker.MakeBucket(ctx, made, minio.MakeBucketOptions{Region: "us-east-1"}))
	same(must(maker.BucketExists(ctx, made)), true)
	// In us-east-1 one's own bucket may be made again.
	ok(maker.MakeBucket(ctx, made, minio.MakeBucketOptions{}))
	minioRefused(maker.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}), "BucketAlreadyExists", 409)
	names := []string{}
	for _, found := range must(maker.ListBuckets(ctx)) {
		names = append(names, found.Name)
	}
	same(slices.Contains(names, made), true)
	must(maker.PutObject(ctx, made, "k", strings.NewReader("x"), 1, minio.PutObjectOptions{}))
	minioRefused(maker.RemoveBucket(ctx, made), "BucketNotEmpty", 409)
	ok(maker.RemoveObject(ctx, made, "k", minio.RemoveObjectOptions{}))
	ok(maker.RemoveBucket(ctx, made))
	same(must(maker.BucketExists(ctx, made)), false)
	minioRefused(store.MakeBucket(ctx, made, minio.MakeBucketOptions{}), "AccessDenied", 403)
}

func minioNames() {
	// XML 1.0 cannot say it; the client deletes it alone.
	all := append([]string{"control-\x01-\x1f-\x7f"}, names...)
	expected := []string{}
	for _, name := range all {
		minioPut(name, []byte(name), minio.PutObjectOptions{})
		minioHas(name, []byte(name))
		expected = append(expected, prefix+name)
	}
	slices.Sort(expected)
	for _, options := range []minio.ListObjectsOptions{{}, {MaxKeys: 3}, {UseV1: true, MaxKeys: 3}, {StartAfter: expected[4]}} {
		options.Prefix, options.Recursive = prefix, true
		seen := []string{}
		for entry := range store.ListObjects(ctx, bucket, options) {
			ok(entry.Err)
			seen = append(seen, entry.Key)
		}
		if options.StartAfter != "" {
			same(seen, expected[5:])
		} else {
			same(seen, expected)
		}
	}
	folders := []string{}
	for entry := range store.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		ok(entry.Err)
		if strings.HasSuffix(entry.Key, "/") {
			folders = append(folders, strings.TrimPrefix(entry.Key, prefix))
		}
	}
	same(folders, []string{"../", "/", "a/", "ü/"})
	for _, name := range all {
		from := minio.CopySrcOptions{Bucket: bucket, Object: prefix + name}
		must(store.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: prefix + "copy/" + name}, from))
		minioHas("copy/"+name, []byte(name))
	}
	gone := make(chan minio.ObjectInfo)
	go func() {
		defer close(gone)
		for _, name := range all {
			gone <- minio.ObjectInfo{Key: prefix + name}
			gone <- minio.ObjectInfo{Key: prefix + "copy/" + name}
		}
	}()
	for result := range store.RemoveObjects(ctx, bucket, gone, minio.RemoveObjectsOptions{}) {
		ok(result.Err)
	}
	same(minioList(), map[string]int64{})
}
