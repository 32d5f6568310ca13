// The AWS SDK for Go v2: objects in one request.

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func awsObjects() {
	for _, size := range []int{0, 1, 100_000, 3_000_000} {
		body, key := random(size), fmt.Sprintf("%d +&ü", size)
		put := awsPut(key, body)
		same([]any{*put.ETag, put.ChecksumType}, []any{`"` + md5Hex(body) + `"`, types.ChecksumTypeFullObject})
		same(*awsHas(key, body).ChecksumCRC32, *put.ChecksumCRC32)
	}
	said := map[string]string{"a": "1 +2", "unicode": "ü", "empty": ""}
	must(client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: at("told"), Body: strings.NewReader("hello"), Metadata: said, ContentType: aws.String("text/x"),
		Tagging: aws.String("a+b=1%2B2&%C3%BC=2"), StorageClass: types.StorageClassStandardIa, CacheControl: aws.String("no-cache"),
	}))
	got := awsHas("told", []byte("hello"))
	// The client leaves words beyond ASCII as S3 says them: RFC 2047.
	same([]any{got.Metadata["a"], got.Metadata["empty"], *got.ContentType, *got.TagCount}, []any{"1 +2", "", "text/x", int32(2)})
	same(must(new(mime.WordDecoder).DecodeHeader(got.Metadata["unicode"])), "ü")
	tagged := map[string]string{}
	for _, tag := range must(client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: at("told")})).TagSet {
		tagged[*tag.Key] = *tag.Value
	}
	same(tagged, map[string]string{"a b": "1+2", "ü": "2"})
	part := must(client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: at("told"), Range: aws.String("bytes=1-2")}))
	same([]string{string(must(io.ReadAll(part.Body))), *part.ContentRange}, []string{"el", "bytes 1-2/5"})
	must(client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &bucket, Key: at("copy"), CopySource: aws.String(bucket + "/" + url.PathEscape(prefix+"told")),
	}))
	same(awsHas("copy", []byte("hello")).Metadata["a"], "1 +2")
	same(awsHead("copy").StorageClass, types.StorageClass(""))
}

func awsStreams() {
	body := random(300_000)
	unsigned := s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	must(client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: at("seekable"), Body: bytes.NewReader(body)}, unsigned))
	awsHas("seekable", body)
	// Over HTTP what cannot be read twice goes unsigned and without a checksum.
	once := func(options *s3.Options) {
		options.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	}
	input := &s3.PutObjectInput{Bucket: &bucket, Key: at("stream"), Body: stream(body), ContentLength: aws.Int64(int64(len(body)))}
	must(client.PutObject(ctx, input, unsigned, once))
	awsHas("stream", body)
	if transport != nil {
		// With a checksum behind it.
		for _, algorithm := range append(algorithms, "") {
			trailing := *input
			trailing.Key, trailing.Body, trailing.ChecksumAlgorithm = at("trailing"), stream(body), algorithm
			put := must(client.PutObject(ctx, &trailing))
			awsHas("trailing", body)
			same(awsSum(awsHead("trailing")), awsSum(put))
		}
	}
	input.Body, input.ContentLength = stream(body), nil
	_, err := client.PutObject(ctx, input, unsigned, once)
	awsRefused(err, "MissingContentLength", 411)
	// A checksum that is known beforehand.
	sum := sha256.Sum256(body)
	input.Body, input.ContentLength = stream(body), aws.Int64(int64(len(body)))
	input.ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
	must(client.PutObject(ctx, input, unsigned, once))
	same(awsHas("stream", body).ChecksumSHA256, input.ChecksumSHA256)
	input.Body = stream(random(len(body)))
	_, err = client.PutObject(ctx, input, unsigned, once)
	awsRefused(err, "BadDigest", 400)
	awsHas("stream", body)
}

func awsChecksums() {
	body := random(10_000)
	for _, algorithm := range algorithms {
		key := string(algorithm)
		put := must(client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: at(key), Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm}))
		awsHas(key, body)
		same(awsSum(awsHead(key)), awsSum(put))
	}
}

func awsPresigned() {
	signer := s3.NewPresignClient(client)
	body := []byte("hello")
	const owner = "123456789012"
	put := must(signer.PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: at("pre signed+ü"), Metadata: map[string]string{"a": "1 +2"}, ContentType: aws.String("text/x"),
		Tagging: aws.String("t=1"), StorageClass: types.StorageClassGlacierIr,
	}))
	status, _, answer := send(put.Method, put.URL, put.SignedHeader, body)
	same([]any{status, string(answer)}, []any{200, ""})
	head := awsHead("pre signed+ü")
	same([]any{head.Metadata["a"], *head.ContentType, *head.TagCount, head.StorageClass}, []any{"1 +2", "text/x", int32(1), types.StorageClassGlacierIr})
	get := must(signer.PresignGetObject(ctx, &s3.GetObjectInput{
		Bucket: &bucket, Key: at("pre signed+ü"), ResponseContentType: aws.String("a/b"), ChecksumMode: types.ChecksumModeEnabled,
	}))
	status, headers, answer := send(get.Method, get.URL, get.SignedHeader, nil)
	same([]any{status, string(answer), headers.Get("Content-Type")}, []any{200, "hello", "a/b"})
	// Somebody else's account.
	other := must(signer.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: at("pre signed+ü"), ExpectedBucketOwner: aws.String(owner)}))
	status, _, answer = send(other.Method, other.URL, other.SignedHeader, nil)
	same([]any{status, strings.Contains(string(answer), "<Code>AccessDenied</Code>")}, []any{403, true})
	other = must(signer.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: at("other"), ExpectedBucketOwner: aws.String(owner)}))
	status, _, _ = send(other.Method, other.URL, other.SignedHeader, body)
	same(status, 403)
	gone := must(signer.PresignDeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: at("pre signed+ü")}))
	status, _, _ = send(gone.Method, gone.URL, gone.SignedHeader, nil)
	same(status, 204)
	status, _, _ = send(get.Method, get.URL, get.SignedHeader, nil)
	same(status, 404)

	form := must(signer.PresignPostObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: at("form")}))
	status, _, answer = sendForm(form.URL, form.Values, "x", body)
	same([]any{status, string(answer)}, []any{204, ""})
	awsHas("form", body)
}
