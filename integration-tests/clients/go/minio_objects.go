// minio-go: objects in one request, checksums, presigned URLs and forms.

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/tags"
)

func minioObjects() {
	for _, size := range []int{0, 1, 100_000, 3_000_000} {
		body := random(size)
		for name, client := range map[string]*minio.Client{"trailer": store, "plain": plain} {
			key := fmt.Sprintf("%s %d", name, size)
			for how, options := range map[string]minio.PutObjectOptions{
				"default":  {},
				"md5":      {SendContentMd5: true},
				"unsigned": {DisableContentSha256: true},
			} {
				put := must(client.PutObject(ctx, bucket, prefix+key+how, bytes.NewReader(body), int64(size), options))
				same(put.ETag, md5Hex(body))
				minioHas(key+how, body)
			}
		}
	}
	// The client writes its own into the map.
	said := map[string]string{"Plain": "1 +2", "Unicode": "ünï cödé 日本 🙂", "Empty": ""}
	// It leaves tags out that are not of ASCII.
	tagged := map[string]string{"a b": "1+2 =/:@", "empty": ""}
	minioPut("told", []byte("hello"), minio.PutObjectOptions{
		UserMetadata: maps.Clone(said), UserTags: tagged, ContentType: "text/x", ContentEncoding: "gzip", CacheControl: "no-cache",
		ContentDisposition: `attachment; filename="a b.txt"`, ContentLanguage: "de", StorageClass: "STANDARD_IA",
	})
	head := minioStat("told")
	same(map[string]string(head.UserMetadata), said)
	same([]any{head.ContentType, head.ContentEncoding, head.UserTagCount}, []any{"text/x", "gzip", 2})
	same(head.Headers.Get("X-Amz-Storage-Class"), "STANDARD_IA")
	same(must(store.GetObjectTagging(ctx, bucket, prefix+"told", minio.GetObjectTaggingOptions{})).ToMap(), tagged)
	ok(store.PutObjectTagging(ctx, bucket, prefix+"told", must(tags.NewTags(map[string]string{"n": "1"}, true)), minio.PutObjectTaggingOptions{}))
	same(must(store.GetObjectTagging(ctx, bucket, prefix+"told", minio.GetObjectTaggingOptions{})).ToMap(), map[string]string{"n": "1"})
	ok(store.RemoveObjectTagging(ctx, bucket, prefix+"told", minio.RemoveObjectTaggingOptions{}))
	same(minioStat("told").UserTagCount, 0)
	_, err := store.StatObject(ctx, bucket, prefix+"nothing", minio.StatObjectOptions{})
	minioRefused(err, "NoSuchKey", 404)
	_, err = io.ReadAll(must(store.GetObject(ctx, bucket, prefix+"nothing", minio.GetObjectOptions{})))
	minioRefused(err, "NoSuchKey", 404)
}

func minioChecksums() {
	small, large := random(1000), random(11*mib)
	for _, kind := range []minio.ChecksumType{
		minio.ChecksumCRC32, minio.ChecksumCRC32C, minio.ChecksumSHA1, minio.ChecksumSHA256,
		minio.ChecksumCRC64NVME, minio.ChecksumFullObjectCRC32, minio.ChecksumFullObjectCRC32C,
	} {
		key := fmt.Sprintf("%s %v", kind, kind.FullObjectRequested())
		expected := kind.ChecksumBytes(small).Encoded()
		put := minioPut(key, small, minio.PutObjectOptions{Checksum: kind})
		same(minioSum(kind, put), expected)
		same(minioStat(key).Checksum(kind.Base()), expected)
		minioHas(key, small)

		key, mode := "large "+key, "COMPOSITE"
		expected = composite(kind.Base(), large, 5*mib)
		if kind.FullObjectRequested() {
			mode, expected = "FULL_OBJECT", kind.ChecksumBytes(large).Encoded()
		}
		put = minioPut(key, large, minio.PutObjectOptions{Checksum: kind, PartSize: 5 * mib})
		same(minioSum(kind, put), expected)
		head := minioStat(key)
		same([]string{head.Checksum(kind.Base()), head.ChecksumMode}, []string{expected, mode})
		minioHas(key, large)

		whole := minioPut(key+" whole", large, minio.PutObjectOptions{Checksum: kind, DisableMultipart: true})
		same([]string{whole.ETag, minioSum(kind, whole)}, []string{md5Hex(large), kind.ChecksumBytes(large).Encoded()})
		minioHas(key+" whole", large)
	}
	told := must(store.GetObjectAttributes(ctx, bucket, prefix+"large SHA256 false", minio.ObjectAttributesOptions{}))
	same([]int{told.ObjectSize, told.ObjectParts.PartsCount, len(told.ObjectParts.Parts)}, []int{len(large), 3, 3})
	same(told.ObjectParts.Parts[1].ChecksumSHA256, minio.ChecksumSHA256.ChecksumBytes(large[5*mib:10*mib]).Encoded())

	// A checksum that the application has computed itself, and a wrong one.
	for body, refused := range map[string]bool{"right": false, "wrong": true} {
		sum := minio.ChecksumSHA256.ChecksumBytes([]byte("right")).Encoded()
		options := minio.PutObjectOptions{UserMetadata: map[string]string{minio.ChecksumSHA256.Key(): sum}}
		_, err := store.PutObject(ctx, bucket, prefix+"own", strings.NewReader(body), int64(len(body)), options)
		if refused {
			minioRefused(err, "BadDigest", 400)
		} else {
			ok(err)
		}
	}
	minioHas("own", []byte("right"))
}

func minioSum(kind minio.ChecksumType, put minio.UploadInfo) string {
	// SHA256 and the others are in fields of their own.
	return cmp.Or(map[minio.ChecksumType]string{
		minio.ChecksumCRC32: put.ChecksumCRC32, minio.ChecksumCRC32C: put.ChecksumCRC32C, minio.ChecksumSHA1: put.ChecksumSHA1,
		minio.ChecksumSHA256: put.ChecksumSHA256, minio.ChecksumCRC64NVME: put.ChecksumCRC64NVME,
	}[kind.Base()], "none")
}

func minioPresigned() {
	key, body := prefix+"pre signed+ü", random(1000)
	put := must(store.PresignedPutObject(ctx, bucket, key, time.Minute))
	status, _, answer := send("PUT", put.String(), nil, body)
	same([]any{status, string(answer)}, []any{200, ""})
	get := must(store.PresignedGetObject(ctx, bucket, key, time.Minute, url.Values{
		"response-content-type":        {"a/b"},
		"response-content-disposition": {`attachment; filename="a b+ü.txt"`},
	}))
	status, headers, answer := send("GET", get.String(), nil, nil)
	same([]any{status, headers.Get("Content-Type"), headers.Get("Content-Disposition")}, []any{200, "a/b", `attachment; filename="a b+ü.txt"`})
	sameBytes(answer, body)
	status, _, _ = send("HEAD", must(store.PresignedHeadObject(ctx, bucket, key, time.Minute, nil)).String(), nil, nil)
	same(status, 200)
	signed := map[string][]string{"X-Amz-Meta-A": {"1 +2"}, "Content-Type": {"text/x"}}
	header := must(store.PresignHeader(ctx, "PUT", bucket, key, time.Minute, nil, signed))
	status, _, _ = send("PUT", header.String(), nil, body)
	same(status, 403)
	status, _, _ = send("PUT", header.String(), signed, body)
	same(status, 200)
	head := must(store.StatObject(ctx, bucket, key, minio.StatObjectOptions{}))
	same([]string{head.UserMetadata["A"], head.ContentType}, []string{"1 +2", "text/x"})

	policy := minio.NewPostPolicy()
	ok(policy.SetBucket(bucket))
	ok(policy.SetKeyStartsWith(prefix + "form/"))
	ok(policy.SetExpires(time.Now().UTC().Add(time.Minute)))
	ok(policy.SetContentType("image/x"))
	ok(policy.SetContentLengthRange(1, 1000))
	ok(policy.SetSuccessStatusAction("201"))
	ok(policy.SetUserMetadata("a", "ü 1"))
	ok(policy.SetTagging("<Tagging><TagSet><Tag><Key>t</Key><Value>1</Value></Tag></TagSet></Tagging>"))
	ok(policy.SetChecksum(minio.ChecksumSHA256.ChecksumBytes(body)))
	to, fields, err := store.PresignedPostPolicy(ctx, policy)
	ok(err)
	for what, expected := range map[string]int{"right": 201, "wrong": 400, "long": 400} {
		fields["key"] = prefix + "form/${filename}"
		file := map[string][]byte{"right": body, "wrong": random(1000), "long": random(1001)}[what]
		status, _, answer := sendForm(to.String(), fields, "a b ü.png", file)
		if status != expected {
			panic(fmt.Sprintf("%s: %d %s", what, status, answer))
		}
	}
	minioHas("form/a b ü.png", body)
	head = minioStat("form/a b ü.png")
	same([]any{head.ContentType, head.UserMetadata["A"], head.UserTagCount}, []any{"image/x", "ü 1", 1})
	same(head.ChecksumSHA256, minio.ChecksumSHA256.ChecksumBytes(body).Encoded())
}
