// Maxima of 2x2 pixels, and their gradients, which go to the largest pixel alone: the others are zero. Each pixel is
// written once, where torch first fills all with zeros. Means of 2x2 pixels. And batch normalization, maxima and ReLU in
// one: neither what is normalized nor its gradients, three of four of which are zero, are ever written.
//
// Images are float (n, height, width, channels), dense, with an even height and width. Which of its four pixels was
// taken is a byte for each output, 0 to 3, row by row; 4 where ReLU took none.

#include <immintrin.h>

#include <cmath>
#include <utility>
#include <vector>

namespace {

constexpr long LANES = 8;
constexpr int NONE = 4;

struct Shape {
    long n, height, width, channels;
    long rows() const { return n * (height / 2); }
    double pixels() const { return static_cast<double>(n) * height * width; }
};

// What is done to a value before it is compared: value * scale + shift (channels).
struct Line {
    const float *scale, *shift;
};

// The first of four pixels, for a row of outputs and a place in it.
inline long corner(const Shape& shape, long row, long place) { return (2 * row * shape.width + 2 * place) * shape.channels; }

inline long pixel(const Shape& shape, int which) { return (which / 2 * shape.width + which % 2) * shape.channels; }

inline __m256i unpacked(const unsigned char* from) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}

inline void pack(__m256i numbers, unsigned char* to) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
}

// All ones in the lanes that took this pixel.
inline __m256 took(__m256i taken, int which) {
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(taken, _mm256_set1_epi32(which)));
}

// A row of outputs, and which of the pixels they are; NaN is larger than all. NORMALIZED: of max(0, line(value)).
template <bool NORMALIZED>
void pool_row(const float* images, float* outputs, unsigned char* which, const Line& line, const Shape& shape, long row) {
    long across = shape.width / 2;
    for (long place = 0; place < across; place++) {
        const float* from = images + corner(shape, row, place);
        long to = (row * across + place) * shape.channels, channel = 0;
        for (; channel + LANES <= shape.channels; channel += LANES) {
            auto value = [&](int one) {
                __m256 read = _mm256_loadu_ps(from + pixel(shape, one) + channel);
                if (!NORMALIZED) return read;
                return _mm256_fmadd_ps(read, _mm256_loadu_ps(line.scale + channel), _mm256_loadu_ps(line.shift + channel));
            };
            __m256 best = value(0);
            __m256i taken = _mm256_setzero_si256();
            for (int one = 1; one < 4; one++) {
                __m256 other = value(one);
                __m256 larger = _mm256_or_ps(_mm256_cmp_ps(other, best, _CMP_GT_OQ), _mm256_cmp_ps(other, other, _CMP_UNORD_Q));
                best = _mm256_blendv_ps(best, other, larger);
                taken = _mm256_blendv_epi8(taken, _mm256_set1_epi32(one), _mm256_castps_si256(larger));
            }
            if (NORMALIZED) {
                __m256 none = _mm256_cmp_ps(best, _mm256_setzero_ps(), _CMP_LE_OQ);
                best = _mm256_andnot_ps(none, best);
                taken = _mm256_blendv_epi8(taken, _mm256_set1_epi32(NONE), _mm256_castps_si256(none));
            }
            _mm256_storeu_ps(outputs + to + channel, best);
            pack(taken, which + to + channel);
        }
        for (; channel < shape.channels; channel++) {
            auto value = [&](int one) {
                float read = from[pixel(shape, one) + channel];
                return NORMALIZED ? std::fma(read, line.scale[channel], line.shift[channel]) : read;
            };
            float best = value(0);
            int taken = 0;
            for (int one = 1; one < 4; one++) {
                float other = value(one);
                if (other > best || std::isnan(other)) best = other, taken = one;
            }
            if (NORMALIZED && best <= 0) best = 0, taken = NONE;
            outputs[to + channel] = best;
            which[to + channel] = static_cast<unsigned char>(taken);
        }
    }
}

// Adds up, by channel, the gradients that went anywhere, and their products with how far the pixel's value is from the mean.
void sum_row(const float* values, const float* gradients, const unsigned char* which, const float* mean, const Shape& shape, long row,
             double* sums, double* products) {
    long across = shape.width / 2, channel = 0;
    for (; channel + LANES <= shape.channels; channel += LANES) {
        __m256 all = _mm256_setzero_ps(), away = all, center = _mm256_loadu_ps(mean + channel);
        for (long place = 0; place < across; place++) {
            const float* from = values + corner(shape, row, place) + channel;
            long at = (row * across + place) * shape.channels + channel;
            __m256i taken = unpacked(which + at);
            __m256 gradient = _mm256_andnot_ps(took(taken, NONE), _mm256_loadu_ps(gradients + at)), value = _mm256_loadu_ps(from);
            for (int one = 1; one < 4; one++)
                value = _mm256_blendv_ps(value, _mm256_loadu_ps(from + pixel(shape, one)), took(taken, one));
            all = _mm256_add_ps(all, gradient);
            away = _mm256_fmadd_ps(gradient, _mm256_sub_ps(value, center), away);
        }
        float ones[LANES], twos[LANES];
        _mm256_storeu_ps(ones, all);
        _mm256_storeu_ps(twos, away);
        for (long lane = 0; lane < LANES; lane++) sums[channel + lane] += ones[lane], products[channel + lane] += twos[lane];
    }
    for (; channel < shape.channels; channel++)
        for (long place = 0; place < across; place++) {
            long at = (row * across + place) * shape.channels + channel;
            if (which[at] == NONE) continue;
            float value = values[corner(shape, row, place) + pixel(shape, which[at]) + channel];
            sums[channel] += gradients[at];
            products[channel] += gradients[at] * (value - mean[channel]);
        }
}

// Gradients of the pixels of a row of outputs: gradient * scale where that pixel was taken, + value * slope + level.
void turn_row(const float* values, const float* gradients, const unsigned char* which, float* turned, const float* scale,
              const float* slope, const float* level, const Shape& shape, long row) {
    long across = shape.width / 2;
    for (long place = 0; place < across; place++) {
        long to = corner(shape, row, place), at = (row * across + place) * shape.channels, channel = 0;
        for (; channel + LANES <= shape.channels; channel += LANES) {
            __m256 slopes = _mm256_loadu_ps(slope + channel), levels = _mm256_loadu_ps(level + channel);
            __m256 gradient = _mm256_mul_ps(_mm256_loadu_ps(gradients + at + channel), _mm256_loadu_ps(scale + channel));
            __m256i taken = unpacked(which + at + channel);
            for (int one = 0; one < 4; one++) {
                long here = to + pixel(shape, one) + channel;
                __m256 rest = _mm256_fmadd_ps(_mm256_loadu_ps(values + here), slopes, levels);
                _mm256_storeu_ps(turned + here, _mm256_add_ps(_mm256_and_ps(gradient, took(taken, one)), rest));
            }
        }
        for (; channel < shape.channels; channel++)
            for (int one = 0; one < 4; one++) {
                long here = to + pixel(shape, one) + channel;
                float own = which[at + channel] == one ? gradients[at + channel] * scale[channel] : 0.f;
                turned[here] = own + values[here] * slope[channel] + level[channel];
            }
    }
}

}  // namespace

extern "C" {

// images -> outputs (n, height / 2, width / 2, channels), and which of the pixels they are
void pool(const float* images, float* outputs, unsigned char* which, Shape shape, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++) pool_row<false>(images, outputs, which, Line{}, shape, row);
}

// gradients of the outputs, and which pixels those are -> gradients of the images
void pool_gradient(const float* gradients, const unsigned char* which, float* images, Shape shape, int threads) {
    long across = shape.width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++)
        for (long place = 0; place < across; place++) {
            float* to = images + corner(shape, row, place);
            long from = (row * across + place) * shape.channels, channel = 0;
            for (; channel + LANES <= shape.channels; channel += LANES) {
                __m256 gradient = _mm256_loadu_ps(gradients + from + channel);
                __m256i taken = unpacked(which + from + channel);
                for (int one = 0; one < 4; one++)
                    _mm256_storeu_ps(to + pixel(shape, one) + channel, _mm256_and_ps(gradient, took(taken, one)));
            }
            for (; channel < shape.channels; channel++)
                for (int one = 0; one < 4; one++)
                    to[pixel(shape, one) + channel] = which[from + channel] == one ? gradients[from + channel] : 0.f;
        }
}

// images -> the means of 2x2 pixels (n, height / 2, width / 2, channels)
void mean_pool(const float* images, float* outputs, Shape shape, int threads) {
    long across = shape.width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++)
        for (long place = 0; place < across; place++) {
            const float* from = images + corner(shape, row, place);
            const float *right = from + pixel(shape, 1), *below = from + pixel(shape, 2), *across_from = from + pixel(shape, 3);
            float* to = outputs + (row * across + place) * shape.channels;
            for (long channel = 0; channel < shape.channels; channel++)
                to[channel] = (from[channel] + right[channel] + below[channel] + across_from[channel]) * 0.25f;
        }
}

// gradients of those means -> gradients of the images
void mean_pool_gradient(const float* gradients, float* images, Shape shape, int threads) {
    long across = shape.width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++)
        for (long side = 0; side < 2; side++)
            for (long place = 0; place < across; place++) {
                const float* from = gradients + (row * across + place) * shape.channels;
                float* to = images + corner(shape, row, place) + pixel(shape, static_cast<int>(2 * side));
                for (long channel = 0; channel < shape.channels; channel++)
                    to[channel] = to[shape.channels + channel] = from[channel] * 0.25f;
            }
}

// values -> max(0, the maxima of values * scale + shift), and which of the pixels they are
void normalized_pool(const float* values, float* outputs, unsigned char* which, const float* scale, const float* shift, Shape shape,
                     int threads) {
    Line line{scale, shift};
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++) pool_row<true>(values, outputs, which, line, shape, row);
}

// gradients of those outputs -> of the values (turned), of the weight and of the bias of a normalization, for which the
// values' means and 1 / deviation were `mean` and `inverse`
void normalized_pool_gradient(const float* values, const float* gradients, const unsigned char* which, float* turned,
                              const float* scale, const float* mean, const float* inverse, float* of_weight, float* of_bias,
                              Shape shape, int threads) {
    long channels = shape.channels, rows = shape.rows();
    std::vector<double> sums(threads * channels), products(threads * channels);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int thread = 0; thread < threads; thread++)
        for (long row = rows * thread / threads; row < rows * (thread + 1) / threads; row++)
            sum_row(values, gradients, which, mean, shape, row, &sums[thread * channels], &products[thread * channels]);
    std::vector<float> slope(channels), level(channels);
    for (long c = 0; c < channels; c++) {
        double all = 0, away = 0;
        for (int thread = 0; thread < threads; thread++) all += sums[thread * channels + c], away += products[thread * channels + c];
        of_bias[c] = static_cast<float>(all);
        of_weight[c] = static_cast<float>(away * inverse[c]);
        slope[c] = static_cast<float>(-scale[c] * inverse[c] * inverse[c] * away / shape.pixels());
        level[c] = static_cast<float>(-scale[c] * all / shape.pixels() - slope[c] * mean[c]);
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < rows; row++)
        turn_row(values, gradients, which, turned, scale, slope.data(), level.data(), shape, row);
}
}
