// minio-go: objects of parts, sent and composed.

package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
)

func minioLarge() {
	body := random(40 * mib)
	// The client says the composite checksum at Complete without the number of parts.
	put := minioPut("default", body, minio.PutObjectOptions{ContentType: "text/x", UserMetadata: map[string]string{"A": "ü"}})
	expected := composite(minio.ChecksumCRC32C, body, 16*mib)
	same([]any{put.ChecksumCRC32C, put.Size, strings.HasSuffix(put.ETag, "-3")}, []any{expected, int64(40 * mib), true})
	head := minioStat("default")
	same([]any{head.ChecksumCRC32C, head.ChecksumMode, head.ETag, head.Size}, []any{expected, "COMPOSITE", put.ETag, put.Size})
	same([]any{head.ContentType, head.UserMetadata["A"]}, []any{"text/x", "ü"})
	minioHas("default", body)

	for _, at := range [][2]int{{0, 9}, {16*mib - 3, 16*mib + 3}, {40*mib - 1, 40*mib - 1}} {
		options := minio.GetObjectOptions{Checksum: true}
		ok(options.SetRange(int64(at[0]), int64(at[1])))
		sameBytes(must(io.ReadAll(must(store.GetObject(ctx, bucket, prefix+"default", options)))), body[at[0]:at[1]+1])
	}
	options := minio.GetObjectOptions{}
	ok(options.SetRange(0, -5))
	sameBytes(must(io.ReadAll(must(store.GetObject(ctx, bucket, prefix+"default", options)))), body[len(body)-5:])
	sameBytes(must(io.ReadAll(must(store.GetObject(ctx, bucket, prefix+"default", minio.GetObjectOptions{PartNumber: 2})))), body[16*mib:32*mib])
	sameBytes(must(io.ReadAll(must(store.GetObject(ctx, bucket, prefix+"default", minio.GetObjectOptions{ParallelWorkers: 3})))), body)
	object := must(store.GetObject(ctx, bucket, prefix+"default", minio.GetObjectOptions{}))
	here := make([]byte, 100)
	must(object.ReadAt(here, 20*mib))
	sameBytes(here, body[20*mib:20*mib+100])
	must(object.Seek(-100, io.SeekEnd))
	sameBytes(must(io.ReadAll(object)), body[len(body)-100:])

	must(plain.PutObject(ctx, bucket, prefix+"plain", bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{SendContentMd5: true}))
	minioHas("plain", body)
	// A known size, and nothing but reading.
	must(store.PutObject(ctx, bucket, prefix+"read", stream(body), int64(len(body)), minio.PutObjectOptions{}))
	minioHas("read", body)

	folder := must(os.MkdirTemp("", ""))
	defer os.RemoveAll(folder)
	in, out := filepath.Join(folder, "in.txt"), filepath.Join(folder, "out")
	ok(os.WriteFile(in, body[:17*mib], 0o600))
	filed := must(store.FPutObject(ctx, bucket, prefix+"file", in, minio.PutObjectOptions{PartSize: 5 * mib}))
	same([]any{filed.Size, strings.HasSuffix(filed.ETag, "-4")}, []any{int64(17 * mib), true})
	same(strings.HasPrefix(minioStat("file").ContentType, "text/plain"), true)
	ok(store.FGetObject(ctx, bucket, prefix+"file", out, minio.GetObjectOptions{Checksum: true}))
	sameBytes(must(os.ReadFile(out)), body[:17*mib])
}

func minioStreams() {
	body := random(17*mib + 5)
	for name, options := range map[string]minio.PutObjectOptions{
		"serial":     {PartSize: 5 * mib},
		"concurrent": {PartSize: 5 * mib, ConcurrentStreamParts: true, NumThreads: 3},
		"crc64":      {PartSize: 5 * mib, ConcurrentStreamParts: true, NumThreads: 3, Checksum: minio.ChecksumCRC64NVME},
		"sha256":     {PartSize: 5 * mib, Checksum: minio.ChecksumSHA256},
	} {
		put := must(store.PutObject(ctx, bucket, prefix+name, stream(body), -1, options))
		same([]any{put.Size, strings.HasSuffix(put.ETag, "-4")}, []any{int64(len(body)), true})
		minioHas(name, body)
		head := minioStat(name)
		switch name {
		case "crc64":
			same(head.ChecksumCRC64NVME, minio.ChecksumCRC64NVME.ChecksumBytes(body).Encoded())
		case "sha256":
			same(head.ChecksumSHA256, composite(minio.ChecksumSHA256, body, 5*mib))
		default:
			same(head.ChecksumCRC32C, composite(minio.ChecksumCRC32C, body, 5*mib))
		}
		options.Checksum = minio.ChecksumNone
		must(plain.PutObject(ctx, bucket, prefix+name+" plain", stream(body), -1, options))
		minioHas(name+" plain", body)
	}
	// Nothing at all is an upload of one part.
	must(store.PutObject(ctx, bucket, prefix+"empty", stream(nil), -1, minio.PutObjectOptions{PartSize: 5 * mib}))
	minioHas("empty", nil)
}

func minioCompose() {
	first, second := random(11*mib), random(6*mib)
	said := map[string]string{"A": "1", "Unicode": "ü"}
	minioPut("first", first, minio.PutObjectOptions{UserMetadata: maps.Clone(said), UserTags: map[string]string{"t": "1"}})
	minioPut("second +ü", second, minio.PutObjectOptions{})
	part := func(key string, start, end int) minio.CopySrcOptions {
		return minio.CopySrcOptions{Bucket: bucket, Object: prefix + key, MatchRange: true, Start: int64(start), End: int64(end)}
	}
	from := []minio.CopySrcOptions{
		{Bucket: bucket, Object: prefix + "first"}, part("second +ü", 0, 5*mib-1), part("second +ü", 3, 102),
	}
	expected := slices.Concat(first, second[:5*mib], second[3:103])
	for name, to := range map[string]minio.CopyDestOptions{
		"both":    {},
		"threads": {NumThreads: 3, PartSize: 10 * mib},
		"said":    {ReplaceMetadata: true, UserMetadata: map[string]string{"B": "2"}},
		"crc64":   {ChecksumType: minio.ChecksumCRC64NVME},
		"sha256":  {ChecksumType: minio.ChecksumSHA256},
	} {
		to.Bucket, to.Object = bucket, prefix+name
		must(store.ComposeObject(ctx, to, from...))
		minioHas(name, expected)
		head := minioStat(name)
		switch name {
		case "said":
			same(map[string]string(head.UserMetadata), map[string]string{"B": "2"})
		case "crc64":
			same(head.ChecksumCRC64NVME, minio.ChecksumCRC64NVME.ChecksumBytes(expected).Encoded())
		case "sha256":
			same([]any{strings.HasSuffix(head.ChecksumSHA256, "-3"), head.ChecksumMode}, []any{true, "COMPOSITE"})
		default:
			same(map[string]string(head.UserMetadata), said)
		}
	}
	to := minio.CopyDestOptions{Bucket: bucket, Object: prefix + "copy"}
	must(store.CopyObject(ctx, to, minio.CopySrcOptions{Bucket: bucket, Object: prefix + "first"}))
	minioHas("copy", first)
	same([]any{map[string]string(minioStat("copy").UserMetadata), minioStat("copy").UserTagCount}, []any{said, 1})
	to.ReplaceMetadata, to.UserMetadata, to.ReplaceTags, to.UserTags = true, map[string]string{"B": "ü"}, true, map[string]string{"x": "1", "y": "2"}
	must(store.CopyObject(ctx, to, minio.CopySrcOptions{Bucket: bucket, Object: prefix + "first", MatchETag: minioStat("first").ETag}))
	same([]any{map[string]string(minioStat("copy").UserMetadata), minioStat("copy").UserTagCount}, []any{map[string]string{"B": "ü"}, 2})
	_, err := store.CopyObject(ctx, to, minio.CopySrcOptions{Bucket: bucket, Object: prefix + "first", NoMatchETag: minioStat("first").ETag})
	minioRefused(err, "PreconditionFailed", 412)
}

func minioIncomplete() {
	core := minio.Core{Client: store}
	body := random(5 * mib)
	for _, name := range []string{"a +ü", "b\r\n"} {
		for range 2 {
			id := must(core.NewMultipartUpload(ctx, bucket, prefix+name, minio.PutObjectOptions{}))
			for n := 1; n <= 2; n++ {
				part := must(core.PutObjectPart(ctx, bucket, prefix+name, id, n, bytes.NewReader(body[:n*mib]), int64(n*mib), minio.PutObjectPartOptions{
					Md5Base64: minio.ChecksumMD5.ChecksumBytes(body[:n*mib]).Encoded(),
				}))
				same(part.ETag, md5Hex(body[:n*mib]))
			}
		}
	}
	found := map[string]int{}
	for upload := range store.ListIncompleteUploads(ctx, bucket, prefix, true) {
		ok(upload.Err)
		found[upload.Key]++
		parts := must(core.ListObjectParts(ctx, bucket, upload.Key, upload.UploadID, 0, 1))
		same([]int64{int64(parts.ObjectParts[0].PartNumber), parts.ObjectParts[0].Size}, []int64{1, mib})
		parts = must(core.ListObjectParts(ctx, bucket, upload.Key, upload.UploadID, parts.NextPartNumberMarker, 1))
		same([]int64{int64(parts.ObjectParts[0].PartNumber), parts.ObjectParts[0].Size}, []int64{2, 2 * mib})
	}
	same(found, map[string]int{prefix + "a +ü": 2, prefix + "b\r\n": 2})
	for _, name := range []string{"a +ü", "b\r\n"} {
		ok(store.RemoveIncompleteUpload(ctx, bucket, prefix+name))
	}
	for upload := range store.ListIncompleteUploads(ctx, bucket, prefix, true) {
		panic(upload.Key)
	}
	// A stream that fails leaves no upload.
	broken := io.MultiReader(bytes.NewReader(random(12*mib)), brokenReader{})
	if _, err := store.PutObject(ctx, bucket, prefix+"broken", broken, -1, minio.PutObjectOptions{PartSize: 5 * mib}); err == nil {
		panic("a broken stream was stored")
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func minioConditions() {
	ok(store.RemoveObject(ctx, bucket, prefix+"once", minio.RemoveObjectOptions{}))
	create := minio.PutObjectOptions{}
	create.SetMatchETagExcept("*")
	first := minioPut("once", []byte("1"), create)
	put := func(body string, options minio.PutObjectOptions) error {
		_, err := store.PutObject(ctx, bucket, prefix+"once", strings.NewReader(body), int64(len(body)), options)
		return err
	}
	minioRefused(put("2", create), "PreconditionFailed", 412)
	change := minio.PutObjectOptions{}
	change.SetMatchETag(first.ETag)
	ok(put("three", change))
	minioRefused(put("4", change), "PreconditionFailed", 412)
	minioHas("once", []byte("three"))

	get := minio.GetObjectOptions{}
	ok(get.SetMatchETag(first.ETag))
	_, err := io.ReadAll(must(store.GetObject(ctx, bucket, prefix+"once", get)))
	minioRefused(err, "PreconditionFailed", 412)
	get = minio.GetObjectOptions{}
	ok(get.SetMatchETagExcept(minioStat("once").ETag))
	_, err = store.StatObject(ctx, bucket, prefix+"once", get)
	same(minio.ToErrorResponse(err).StatusCode, 304)
	get = minio.GetObjectOptions{}
	ok(get.SetRange(100, 200))
	_, err = io.ReadAll(must(store.GetObject(ctx, bucket, prefix+"once", get)))
	minioRefused(err, "InvalidRange", 416)
}
