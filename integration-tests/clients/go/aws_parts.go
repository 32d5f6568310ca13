// The AWS SDK for Go v2: the two managers of transfers.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	transfer "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func awsManager() {
	body := random(40 * mib)
	uploader := manager.NewUploader(client, func(options *manager.Uploader) { options.PartSize, options.Concurrency = 8*mib, 3 })
	downloader := manager.NewDownloader(client, func(options *manager.Downloader) { options.PartSize, options.Concurrency = 7*mib, 3 })
	for _, algorithm := range append(algorithms, "") {
		key := "by " + string(algorithm)
		// Every other one as a stream, which the client reads into parts itself.
		var from io.Reader = bytes.NewReader(body)
		if strings.HasPrefix(string(algorithm), "SHA") {
			from = stream(body)
		}
		done := must(uploader.Upload(ctx, &s3.PutObjectInput{
			Bucket: &bucket, Key: at(key), Body: from, ChecksumAlgorithm: algorithm, Metadata: map[string]string{"a": "1"},
		}))
		same([]any{len(done.CompletedParts), strings.HasSuffix(*done.ETag, `-5"`)}, []any{5, true})
		head := awsHead(key)
		same(awsSum(head), awsSum(done))
		mode := types.ChecksumTypeComposite
		if algorithm == types.ChecksumAlgorithmCrc64nvme {
			mode = types.ChecksumTypeFullObject
		}
		same([]any{*head.ETag, head.Metadata["a"], head.ChecksumType, *head.ContentLength}, []any{*done.ETag, "1", mode, int64(len(body))})
		into := manager.NewWriteAtBuffer(make([]byte, 0, len(body)))
		same(must(downloader.Download(ctx, into, &s3.GetObjectInput{Bucket: &bucket, Key: at(key)})), int64(len(body)))
		sameBytes(into.Bytes(), body)
		awsAttributes(key, algorithm, 5)
	}
	third := must(client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &bucket, Key: at("by SHA256"), PartNumber: aws.Int32(3), ChecksumMode: types.ChecksumModeEnabled,
	}))
	sameBytes(must(io.ReadAll(third.Body)), body[16*mib:24*mib])
	same(*third.PartsCount, 5)

	once := &s3.PutObjectInput{Bucket: &bucket, Key: at("by "), Body: bytes.NewReader(body[:17*mib]), IfNoneMatch: aws.String("*")}
	_, err := uploader.Upload(ctx, once)
	awsRefused(err, "PreconditionFailed", 412)
	var failed manager.MultiUploadFailure
	same(errors.As(err, &failed), true)
}

func awsAttributes(key string, algorithm types.ChecksumAlgorithm, count int32) {
	asked := &s3.GetObjectAttributesInput{
		Bucket: &bucket, Key: at(key), MaxParts: aws.Int32(2), ObjectAttributes: types.ObjectAttributes("").Values(),
	}
	told := must(client.GetObjectAttributes(ctx, asked))
	head := awsHead(key)
	same([]any{*told.ETag, *told.ObjectSize, *told.ObjectParts.TotalPartsCount}, []any{strings.Trim(*head.ETag, `"`), *head.ContentLength, count})
	sum := awsSum(told.Checksum)
	// Here without the number of parts.
	same(sum, strings.SplitN(awsSum(head), "-", 2)[0])
	same(told.Checksum.ChecksumType, head.ChecksumType)
	if algorithm == types.ChecksumAlgorithmSha256 {
		same([]any{len(told.ObjectParts.Parts), *told.ObjectParts.IsTruncated, *told.ObjectParts.NextPartNumberMarker}, []any{2, true, "2"})
		pages := []int32{}
		for more := true; more; {
			page := must(client.GetObjectAttributes(ctx, asked)).ObjectParts
			for _, part := range page.Parts {
				pages = append(pages, *part.PartNumber)
			}
			asked.PartNumberMarker, more = page.NextPartNumberMarker, *page.IsTruncated
		}
		same(pages, []int32{1, 2, 3, 4, 5})
	}
}

// The manager's successor: by default CRC32 of the parts, and objects are read by part.
func awsTransfer() {
	body := random(20*mib + 3)
	for _, how := range []transfer.GetObjectType{transfer.GetObjectParts, transfer.GetObjectRanges} {
		moves := transfermanager.New(client, func(options *transfermanager.Options) {
			options.PartSizeBytes, options.Concurrency, options.GetObjectType = 8*mib, 3, how
		})
		key := fmt.Sprintf("moved %v", how)
		done := must(moves.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &bucket, Key: at(key), Body: stream(body)}))
		same(strings.HasSuffix(*done.ETag, `-3"`), true)
		into := manager.NewWriteAtBuffer(nil)
		must(moves.DownloadObject(ctx, &transfermanager.DownloadObjectInput{Bucket: &bucket, Key: at(key), WriterAt: into}))
		sameBytes(into.Bytes(), body)
		got := must(moves.GetObject(ctx, &transfermanager.GetObjectInput{Bucket: &bucket, Key: at(key)}))
		sameBytes(must(io.ReadAll(got.Body)), body)
		for _, size := range []int{0, 10} {
			small := body[:size]
			must(moves.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &bucket, Key: at("small"), Body: bytes.NewReader(small)}))
			awsHas("small", small)
			got := must(moves.GetObject(ctx, &transfermanager.GetObjectInput{Bucket: &bucket, Key: at("small")}))
			sameBytes(must(io.ReadAll(got.Body)), small)
		}
	}
	// A checksum of the whole is said at the beginning.
	moves := transfermanager.New(client)
	for _, kind := range []transfer.ChecksumAlgorithm{transfer.ChecksumAlgorithmCrc32, transfer.ChecksumAlgorithmCrc32c, "CRC64NVME"} {
		key := "whole " + string(kind)
		done := must(moves.UploadObject(ctx, &transfermanager.UploadObjectInput{
			Bucket: &bucket, Key: at(key), Body: bytes.NewReader(body), ChecksumAlgorithm: kind, ChecksumType: transfer.ChecksumTypeFullObject,
		}))
		head := awsHead(key)
		same(awsSum(head), awsSum(done))
		same([]any{head.ChecksumType, strings.Contains(awsSum(head), "-")}, []any{types.ChecksumTypeFullObject, false})
		awsHas(key, body)
	}
}
