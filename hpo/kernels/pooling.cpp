// Maxima of 2x2 pixels, and their gradients, which go to the largest pixel alone: the others are zero. Each pixel is
// written once, where torch first fills all with zeros. Means of 2x2 pixels. And batch normalization, maxima and ReLU in
// one: neither what is normalized nor its gradients, three of four of which are zero, are ever written.
//
// Images are (n, height, width, channels), dense, with an even height and width. Which of its four pixels was
// taken is a byte for each output, 0 to 3, row by row; 4 where ReLU took none.

#include <cmath>
#include <utility>
#include <vector>

#include "values.h"

namespace {

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

// Calls `work(channel, V{})` for V from that channel on, for all channels.
template <class Work>
inline void each(long channels, Work work) {
    long channel = 0;
    for (; channel + LANES <= channels; channel += LANES) work(channel, Lanes{});
    for (; channel < channels; channel++) work(channel, 0.f);
}

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
void pool_row(const Value* images, Value* outputs, unsigned char* which, const Line& line, const Shape& shape, long row) {
    long across = shape.width / 2;
    for (long place = 0; place < across; place++) {
        const Value* from = images + corner(shape, row, place);
        long to = (row * across + place) * shape.channels, channel = 0;
        for (; channel + LANES <= shape.channels; channel += LANES) {
            auto value = [&](int one) {
                __m256 read = get<Lanes>(from + pixel(shape, one) + channel);
                if (!NORMALIZED) return read;
                return _mm256_fmadd_ps(read, get<Lanes>(line.scale + channel), get<Lanes>(line.shift + channel));
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
            put<Lanes>(outputs + to + channel, best);
            pack(taken, which + to + channel);
        }
        for (; channel < shape.channels; channel++) {
            auto value = [&](int one) {
                float read = get<float>(from + pixel(shape, one) + channel);
                return NORMALIZED ? std::fma(read, line.scale[channel], line.shift[channel]) : read;
            };
            float best = value(0);
            int taken = 0;
            for (int one = 1; one < 4; one++) {
                float other = value(one);
                if (other > best || std::isnan(other)) best = other, taken = one;
            }
            if (NORMALIZED && best <= 0) best = 0, taken = NONE;
            put(outputs + to + channel, best);
            which[to + channel] = static_cast<unsigned char>(taken);
        }
    }
}

// Adds up, by channel, the gradients that went anywhere, and their products with how far the pixel's value is from the mean.
void sum_row(const Value* values, const Value* gradients, const unsigned char* which, const float* mean, const Shape& shape, long row,
             double* sums, double* products) {
    long across = shape.width / 2, channel = 0;
    for (; channel + LANES <= shape.channels; channel += LANES) {
        __m256 all = _mm256_setzero_ps(), away = all, center = get<Lanes>(mean + channel);
        for (long place = 0; place < across; place++) {
            const Value* from = values + corner(shape, row, place) + channel;
            long at = (row * across + place) * shape.channels + channel;
            __m256i taken = unpacked(which + at);
            __m256 gradient = _mm256_andnot_ps(took(taken, NONE), get<Lanes>(gradients + at)), value = get<Lanes>(from);
            for (int one = 1; one < 4; one++)
                value = _mm256_blendv_ps(value, get<Lanes>(from + pixel(shape, one)), took(taken, one));
            all = _mm256_add_ps(all, gradient);
            away = _mm256_fmadd_ps(gradient, _mm256_sub_ps(value, center), away);
        }
        float ones[LANES], twos[LANES];
        put<Lanes>(ones, all);
        put<Lanes>(twos, away);
        for (long lane = 0; lane < LANES; lane++) sums[channel + lane] += ones[lane], products[channel + lane] += twos[lane];
    }
    for (; channel < shape.channels; channel++)
        for (long place = 0; place < across; place++) {
            long at = (row * across + place) * shape.channels + channel;
            if (which[at] == NONE) continue;
            float value = get<float>(values + corner(shape, row, place) + pixel(shape, which[at]) + channel);
            float gradient = get<float>(gradients + at);
            sums[channel] += gradient;
            products[channel] += gradient * (value - mean[channel]);
        }
}

// Gradients of the pixels of a row of outputs: gradient * scale where that pixel was taken, + value * slope + level.
void turn_row(const Value* values, const Value* gradients, const unsigned char* which, Value* turned, const float* scale,
              const float* slope, const float* level, const Shape& shape, long row) {
    long across = shape.width / 2;
    for (long place = 0; place < across; place++) {
        long to = corner(shape, row, place), at = (row * across + place) * shape.channels, channel = 0;
        for (; channel + LANES <= shape.channels; channel += LANES) {
            __m256 slopes = get<Lanes>(slope + channel), levels = get<Lanes>(level + channel);
            __m256 gradient = _mm256_mul_ps(get<Lanes>(gradients + at + channel), get<Lanes>(scale + channel));
            __m256i taken = unpacked(which + at + channel);
            for (int one = 0; one < 4; one++) {
                long here = to + pixel(shape, one) + channel;
                __m256 rest = _mm256_fmadd_ps(get<Lanes>(values + here), slopes, levels);
                put<Lanes>(turned + here, _mm256_add_ps(_mm256_and_ps(gradient, took(taken, one)), rest));
            }
        }
        for (; channel < shape.channels; channel++)
            for (int one = 0; one < 4; one++) {
                long here = to + pixel(shape, one) + channel;
                float own = which[at + channel] == one ? get<float>(gradients + at + channel) * scale[channel] : 0.f;
                put(turned + here, own + get<float>(values + here) * slope[channel] + level[channel]);
            }
    }
}

}  // namespace

extern "C" {

// images -> outputs (n, height / 2, width / 2, channels), and which of the pixels they are
void pool(const Value* images, Value* outputs, unsigned char* which, Shape shape, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++) pool_row<false>(images, outputs, which, Line{}, shape, row);
}

// gradients of the outputs, and which pixels those are -> gradients of the images
void pool_gradient(const Value* gradients, const unsigned char* which, Value* images, Shape shape, int threads) {
    long across = shape.width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++)
        for (long place = 0; place < across; place++) {
            Value* to = images + corner(shape, row, place);
            long from = (row * across + place) * shape.channels, channel = 0;
            for (; channel + LANES <= shape.channels; channel += LANES) {
                __m256 gradient = get<Lanes>(gradients + from + channel);
                __m256i taken = unpacked(which + from + channel);
                for (int one = 0; one < 4; one++)
                    put<Lanes>(to + pixel(shape, one) + channel, _mm256_and_ps(gradient, took(taken, one)));
            }
            for (; channel < shape.channels; channel++)
                for (int one = 0; one < 4; one++)
                    to[pixel(shape, one) + channel] = which[from + channel] == one ? gradients[from + channel] : Value{};
        }
}

// images -> the means of 2x2 pixels (n, height / 2, width / 2, channels)
void mean_pool(const Value* images, Value* outputs, Shape shape, int threads) {
    long across = shape.width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++)
        for (long place = 0; place < across; place++) {
            const Value* from = images + corner(shape, row, place);
            Value* to = outputs + (row * across + place) * shape.channels;
            each(shape.channels, [&](long channel, auto kind) {
                using V = decltype(kind);
                V sum = get<V>(from + channel);
                for (int one = 1; one < 4; one++) sum += get<V>(from + pixel(shape, one) + channel);
                put<V>(to + channel, sum * 0.25f);
            });
        }
}

// gradients of those means -> gradients of the images
void mean_pool_gradient(const Value* gradients, Value* images, Shape shape, int threads) {
    long across = shape.width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++)
        for (long side = 0; side < 2; side++)
            for (long place = 0; place < across; place++) {
                const Value* from = gradients + (row * across + place) * shape.channels;
                Value* to = images + corner(shape, row, place) + pixel(shape, static_cast<int>(2 * side));
                each(shape.channels, [&](long channel, auto kind) {
                    using V = decltype(kind);
                    V share = get<V>(from + channel) * 0.25f;
                    put<V>(to + channel, share);
                    put<V>(to + shape.channels + channel, share);
                });
            }
}

// values -> max(0, the maxima of values * scale + shift), and which of the pixels they are
void normalized_pool(const Value* values, Value* outputs, unsigned char* which, const float* scale, const float* shift, Shape shape,
                     int threads) {
    Line line{scale, shift};
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++) pool_row<true>(values, outputs, which, line, shape, row);
}

// gradients of those outputs -> of the values (turned), of the weight and of the bias of a normalization, for which the
// values' means and 1 / deviation were `mean` and `inverse`
void normalized_pool_gradient(const Value* values, const Value* gradients, const unsigned char* which, Value* turned,
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
