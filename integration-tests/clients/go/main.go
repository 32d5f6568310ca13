// Work of the Go SDKs: `client SDK WHAT`. It checks what comes back, and prints what it has left beneath the prefix:
// keys and sizes.
package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"reflect"
)

const mib = 1 << 20

var (
	ctx                 = context.Background()
	endpoint, transport = connect()
	bucket              = os.Getenv("BUCKET")
	prefix              = os.Getenv("PREFIX")
	// Names that documents, queries and paths would change.
	names = []string{"/", "//a//b/", "../up", "a/../b", ".", "a+b", "a b", "a%20b", "<a>&amp;'\"", "cr\r\nlf", "tab\tname", "ü/日本/🙂"}
)

func main() {
	sdks := map[string]struct {
		work map[string]func()
		list func() map[string]int64
	}{"minio": {minioWork, minioList}, "aws": {awsWork, awsList}}
	sdk := sdks[os.Args[1]]
	sdk.work[os.Args[2]]()
	ok(json.NewEncoder(os.Stdout).Encode(sdk.list()))
}

func ok(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](value T, err error) T {
	ok(err)
	return value
}

func same[T any](got, expected T) {
	if !reflect.DeepEqual(got, expected) {
		panic(fmt.Sprintf("%#v is not %#v", got, expected))
	}
}

// Bodies are too long to be printed.
func sameBytes(got, expected []byte) {
	if !bytes.Equal(got, expected) {
		panic(fmt.Sprintf("other bytes: %d of them, and not %d", len(got), len(expected)))
	}
}

func random(size int) []byte {
	body := make([]byte, size)
	must(rand.Read(body))
	return body
}

func md5Hex(body []byte) string {
	sum := md5.Sum(body)
	return hex.EncodeToString(sum[:])
}

// A stream that can only be read.
func stream(body []byte) io.Reader { return io.MultiReader(bytes.NewReader(body)) }

func send(method, url string, headers http.Header, body []byte) (int, http.Header, []byte) {
	request := must(http.NewRequest(method, url, bytes.NewReader(body)))
	for name, values := range headers {
		if name != "Host" && name != "Content-Length" {
			request.Header[name] = values
		}
	}
	answer := must(http.DefaultClient.Do(request))
	defer answer.Body.Close()
	return answer.StatusCode, answer.Header, must(io.ReadAll(answer.Body))
}

// A form as browsers send it: the file is its last field.
func sendForm(url string, fields map[string]string, name string, body []byte) (int, http.Header, []byte) {
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	for field, value := range fields {
		ok(writer.WriteField(field, value))
	}
	must(must(writer.CreateFormFile("file", name)).Write(body))
	ok(writer.Close())
	return send("POST", url, http.Header{"Content-Type": {writer.FormDataContentType()}}, form.Bytes())
}
