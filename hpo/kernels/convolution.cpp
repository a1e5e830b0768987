// 3x3 convolutions of stride 1 and padding 1 with fewer multiplications: Winograd's F(4x4, 3x3), after Lavin and Gray
// 2016, "Fast Algorithms for Convolutional Neural Networks". An image is cut into tiles of 4x4 outputs, each of which
// sees 6x6 inputs. Transformed, a tile needs 36 products a pair of channels, where the plain sum needs 144.
//
// Images are float (n, h, w, channels), dense. Weights have strides, so that the gradient of the images is the same
// convolution with weights that are turned around. Scratch memory of a thread stays in its cache: a few tiles at once.

#include <immintrin.h>

#include <algorithm>
#include <vector>

namespace {

constexpr int LANES = 8, TILES = 18, POINTS = 36;  // TILES: of a block
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef float Anywhere __attribute__((vector_size(4 * LANES), aligned(4)));

struct Shape {
    long n, height, width, in, out;
    long down() const { return (height + 3) / 4; }
    long across() const { return (width + 3) / 4; }
    long tiles() const { return n * down() * across(); }
    long blocks() const { return (tiles() + TILES - 1) / TILES; }
};

struct Strides {
    long out, in, row, column;
};

long padded(long channels) { return (channels + LANES - 1) / LANES * LANES; }

// So many lanes as are left of the channels; the others are neither read nor written.
inline __m256i mask(long left) {
    static const int lanes[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes + LANES - std::min<long>(left, LANES)));
}

inline Lanes load(const float* from) { return *reinterpret_cast<const Anywhere*>(from); }
inline Lanes load(const float* from, __m256i some) { return _mm256_maskload_ps(from, some); }
inline void store(float* to, Lanes values) { *reinterpret_cast<Anywhere*>(to) = values; }

inline void store(float* to, Lanes values, long left) {  // stores with a mask are slow on some processors
    if (left >= LANES) return store(to, values);
    __m128 some = _mm256_castps256_ps128(values);
    if (left & 4) {
        _mm_storeu_ps(to, some);
        some = _mm256_extractf128_ps(values, 1);
        to += 4;
    }
    if (left & 2) {
        _mm_storel_pi(reinterpret_cast<__m64*>(to), some);
        some = _mm_movehl_ps(some, some);
        to += 2;
    }
    if (left & 1) _mm_store_ss(to, some);
}

// The transforms of Lavin and Gray, section 4.2, of a row or a column; each is applied to both.

inline void of_inputs(const Lanes* from, Lanes* to) {
    Lanes a = from[0], b = from[1], c = from[2], d = from[3], e = from[4], f = from[5];
    Lanes even = e - 4.f * c, odd = d - 4.f * b, right = e - c, left = 2.f * (d - b);
    to[0] = 4.f * a - 5.f * c + e;
    to[1] = even + odd;
    to[2] = even - odd;
    to[3] = right + left;
    to[4] = right - left;
    to[5] = 4.f * b - 5.f * d + f;
}

inline void of_products(const Lanes* from, Lanes* to) {
    Lanes a = from[0], b = from[1], c = from[2], d = from[3], e = from[4], f = from[5];
    Lanes sum = b + c, difference = b - c, far = d + e, turned = d - e;
    to[0] = a + sum + far;
    to[1] = difference + 2.f * turned;
    to[2] = sum + 4.f * far;
    to[3] = difference + 8.f * turned + f;
}

inline void of_gradients(const Lanes* from, Lanes* to) {  // the transpose of `of_products`
    Lanes a = from[0], b = from[1], c = from[2], d = from[3];
    Lanes even = a + c, odd = b + d, far = a + 4.f * c, turned = 2.f * b + 8.f * d;
    to[0] = a;
    to[1] = even + odd;
    to[2] = even - odd;
    to[3] = far + turned;
    to[4] = far - turned;
    to[5] = d;
}

inline void of_weights(const float* from, float* to) {
    float a = from[0], b = from[1], c = from[2];
    to[0] = a / 4;
    to[1] = -(a + b + c) / 6;
    to[2] = -(a - b + c) / 6;
    to[3] = a / 24 + b / 12 + c / 6;
    to[4] = a / 24 - b / 12 + c / 6;
    to[5] = c;
}

inline void of_points(const float* from, float* to) {  // the transpose of `of_weights`
    float sum = (from[1] + from[2]) / 6, far = (from[3] + from[4]) / 24;
    to[0] = from[0] / 4 - sum + far;
    to[1] = (from[2] - from[1]) / 6 + (from[3] - from[4]) / 12;
    to[2] = -sum + 4 * far + from[5];
}

// Where the pixels of a tile are; a pixel outside the image is zero.
template <int SIDE>
void locate(const float* images, const float* zero, const Shape& shape, long channels, long tile, const float** pixels) {
    long from = SIDE == 6 ? 1 : 0, image = tile / (shape.down() * shape.across());
    long top = tile / shape.across() % shape.down() * 4 - from, left = tile % shape.across() * 4 - from;
    const float* corner = images + ((image * shape.height + top) * shape.width + left) * channels;
    for (long row = 0; row < SIDE; row++)
        for (long column = 0; column < SIDE; column++) {
            bool inside = top + row >= 0 && top + row < shape.height && left + column >= 0 && left + column < shape.width;
            pixels[row * SIDE + column] = inside ? corner + (row * shape.width + column) * channels : zero;
        }
}

// A tile's 6x6 inputs or 4x4 gradients -> (POINTS, TILES, padded channels), of which `to` is the tile's own place.
template <int SIDE, void (*turn)(const Lanes*, Lanes*)>
void transform(const float* const* pixels, long channels, float* to, long step) {
    for (long channel = 0; channel < channels; channel += LANES) {
        __m256i some = mask(channels - channel);
        Lanes half[6][SIDE], whole[6];
        for (int column = 0; column < SIDE; column++) {
            Lanes values[SIDE];
            for (int row = 0; row < SIDE; row++) values[row] = load(pixels[row * SIDE + column] + channel, some);
            turn(values, whole);
            for (int row = 0; row < 6; row++) half[row][column] = whole[row];
        }
        for (int row = 0; row < 6; row++) {
            turn(half[row], whole);
            for (int column = 0; column < 6; column++) store(to + (row * 6 + column) * step + channel, whole[column]);
        }
    }
}

// (POINTS, TILES, padded channels), of which `from` is the tile's own place -> the tile's 4x4 outputs.
void transform_products(const float* from, long step, const Shape& shape, long tile, float* images) {
    long image = tile / (shape.down() * shape.across());
    long top = tile / shape.across() % shape.down() * 4, left = tile % shape.across() * 4;
    long rows = std::min(4L, shape.height - top), columns = std::min(4L, shape.width - left);
    float* corner = images + ((image * shape.height + top) * shape.width + left) * shape.out;
    for (long channel = 0; channel < shape.out; channel += LANES) {
        long rest = shape.out - channel;
        Lanes half[4][6], whole[4];
        for (int column = 0; column < 6; column++) {
            Lanes values[6];
            for (int row = 0; row < 6; row++) values[row] = load(from + (row * 6 + column) * step + channel);
            of_products(values, whole);
            for (int row = 0; row < 4; row++) half[row][column] = whole[row];
        }
        for (long row = 0; row < rows; row++) {
            of_products(half[row], whole);
            for (long column = 0; column < columns; column++)
                store(corner + (row * shape.width + column) * shape.out + channel, whole[column], rest);
        }
    }
}

// ROWS x WIDTH lanes of sums over `count` products: to[r][:] (+)= sum over i of a[r * a_row + i * a_step] * b[i * b_step][:].
template <int ROWS, int WIDTH, bool ADD>
inline void multiply(const float* a, long a_row, long a_step, const float* b, long b_step, float* to, long to_row, long count) {
    Lanes sums[ROWS][WIDTH];
    for (int row = 0; row < ROWS; row++)
        for (int part = 0; part < WIDTH; part++)
            sums[row][part] = ADD ? load(to + row * to_row + part * LANES) : Lanes{};
    for (long i = 0; i < count; i++) {
        Lanes right[WIDTH];
        for (int part = 0; part < WIDTH; part++) right[part] = load(b + i * b_step + part * LANES);
#pragma GCC unroll 12
        for (int row = 0; row < ROWS; row++) {
            float factor = a[row * a_row + i * a_step];
            for (int part = 0; part < WIDTH; part++) sums[row][part] += factor * right[part];
        }
    }
    for (int row = 0; row < ROWS; row++)
        for (int part = 0; part < WIDTH; part++) store(to + row * to_row + part * LANES, sums[row][part]);
}

template <int ROWS, int WIDTH, bool ADD>
void multiply(const float* a, long a_row, long a_step, const float* b, long b_step, float* to, long to_row, long rows, long count) {
    long row = 0;
    for (; row + ROWS <= rows; row += ROWS)
        multiply<ROWS, WIDTH, ADD>(a + row * a_row, a_row, a_step, b, b_step, to + row * to_row, to_row, count);
    for (; row + 2 <= rows; row += 2)
        multiply<2, WIDTH, ADD>(a + row * a_row, a_row, a_step, b, b_step, to + row * to_row, to_row, count);
    for (; row < rows; row++)
        multiply<1, WIDTH, ADD>(a + row * a_row, a_row, a_step, b, b_step, to + row * to_row, to_row, count);
}

template <bool ADD>
void multiply(const float* a, long a_row, long a_step, const float* b, long b_step, float* to, long to_row, long rows, long columns,
              long count) {
    long column = 0;
    for (; column + 2 * LANES <= columns; column += 2 * LANES)
        multiply<6, 2, ADD>(a, a_row, a_step, b + column, b_step, to + column, to_row, rows, count);
    if (column < columns) multiply<12, 1, ADD>(a, a_row, a_step, b + column, b_step, to + column, to_row, rows, count);
}

// Weights (out, in, 3, 3) -> (POINTS, in, padded out).
std::vector<float> transform_weights(const float* weights, const Strides& strides, const Shape& shape) {
    long out = padded(shape.out);
    std::vector<float> points(POINTS * shape.in * out);
    for (long o = 0; o < shape.out; o++)
        for (long i = 0; i < shape.in; i++) {
            float half[3][6], values[3], whole[6];
            for (int row = 0; row < 3; row++) {
                const float* at = weights + o * strides.out + i * strides.in + row * strides.row;
                for (int column = 0; column < 3; column++) values[column] = at[column * strides.column];
                of_weights(values, half[row]);
            }
            for (int column = 0; column < 6; column++) {
                for (int row = 0; row < 3; row++) values[row] = half[row][column];
                of_weights(values, whole);
                for (int row = 0; row < 6; row++) points[((row * 6 + column) * shape.in + i) * out + o] = whole[row];
            }
        }
    return points;
}

}  // namespace

extern "C" {

// images (n, h, w, in), weights (out, in, 3, 3) -> outputs (n, h, w, out)
void convolve(const float* images, const float* weights, float* outputs, Shape shape, Strides strides, int threads) {
    long in = padded(shape.in), out = padded(shape.out);
    std::vector<float> points = transform_weights(weights, strides, shape);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> inputs(POINTS * TILES * in), products(POINTS * TILES * out), zero(shape.in);
        const float* pixels[36];
#pragma omp for schedule(static)
        for (long block = 0; block < shape.blocks(); block++) {
            long first = block * TILES, count = std::min<long>(TILES, shape.tiles() - first);
            for (long tile = 0; tile < count; tile++) {
                locate<6>(images, zero.data(), shape, shape.in, first + tile, pixels);
                transform<6, of_inputs>(pixels, shape.in, &inputs[tile * in], TILES * in);
            }
            for (long point = 0; point < POINTS; point++)
                multiply<false>(&inputs[point * TILES * in], in, 1, &points[point * shape.in * out], out,
                                &products[point * TILES * out], out, count, out, shape.in);
            for (long tile = 0; tile < count; tile++)
                transform_products(&products[tile * out], TILES * out, shape, first + tile, outputs);
        }
    }
}

// images (n, h, w, in), gradients (n, h, w, out) -> the gradient of the weights (out, in, 3, 3)
void weight_gradient(const float* images, const float* gradients, float* weights, Shape shape, Strides strides, int threads) {
    long in = padded(shape.in), out = padded(shape.out), size = POINTS * shape.in * out;
    std::vector<float> sums(threads * size);  // a thread's own; added in order, so that the same bits come again
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++) {
        std::vector<float> inputs(POINTS * TILES * in), turned(POINTS * TILES * out), zero(std::max(shape.in, shape.out));
        const float* pixels[36];
        float* own = &sums[thread * size];
        for (long block = shape.blocks() * thread / threads; block < shape.blocks() * (thread + 1) / threads; block++) {
            long first = block * TILES, count = std::min<long>(TILES, shape.tiles() - first);
            for (long tile = 0; tile < count; tile++) {
                locate<6>(images, zero.data(), shape, shape.in, first + tile, pixels);
                transform<6, of_inputs>(pixels, shape.in, &inputs[tile * in], TILES * in);
                locate<4>(gradients, zero.data(), shape, shape.out, first + tile, pixels);
                transform<4, of_gradients>(pixels, shape.out, &turned[tile * out], TILES * out);
            }
            for (long point = 0; point < POINTS; point++)
                multiply<true>(&inputs[point * TILES * in], 1, in, &turned[point * TILES * out], out,
                               own + point * shape.in * out, out, shape.in, out, count);
        }
    }
    for (int thread = 1; thread < threads; thread++)
        for (long i = 0; i < size; i++) sums[i] += sums[thread * size + i];
    for (long o = 0; o < shape.out; o++)
        for (long i = 0; i < shape.in; i++) {
            float half[3][6], values[6], whole[3];
            for (int column = 0; column < 6; column++) {
                for (int row = 0; row < 6; row++) values[row] = sums[((row * 6 + column) * shape.in + i) * out + o];
                of_points(values, whole);
                for (int row = 0; row < 3; row++) half[row][column] = whole[row];
            }
            for (int row = 0; row < 3; row++) {
                of_points(half[row], whole);
                float* at = weights + o * strides.out + i * strides.in + row * strides.row;
                for (int column = 0; column < 3; column++) at[column * strides.column] = whole[column];
            }
        }
}
}
